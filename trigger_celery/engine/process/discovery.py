"""Lets a process that misses a task import the modules in which the project declares its tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import RLock

from trigger_celery.body.context import entered

logger = logging.getLogger("trigger_celery.task")

PATIENCE = 30.0
"""Seconds for which a thread waits until another one has imported the modules."""


class Discovery:
    """Imports what declares tasks, once in the life of a process, when one is missed."""

    def __init__(self) -> None:
        self._lock = RLock()  # a module that is being imported may miss a task itself
        self._is_begun = False
        self._is_over = False

    def once(self, discover: Callable[[], None]) -> None:
        """Call ``discover`` if no thread did so far; one that comes meanwhile waits.

        What it raises is logged, and it is not called again: tasks stay unknown then.
        """
        if self._is_over:
            return
        # Not for ever: that thread may wait for a module which this one is importing, or be
        # one of the process that this one was forked from.
        if not self._lock.acquire(timeout=PATIENCE):
            self._is_over = True
            logger.warning(
                "importing the modules that declare tasks took longer than %g s: until it is "
                "done, runs of tasks that are not known yet have none of their options",
                PATIENCE,
            )
            return
        try:
            if not self._is_begun:
                self._is_begun = True
                self._call(discover)
        finally:
            self._lock.release()

    def _call(self, discover: Callable[[], None]) -> None:
        try:
            with entered(None):  # what modules do while they are imported is no part of a run
                discover()
        except Exception:  # the caller wants to start a run, which the tasks' options only shape
            logger.exception(
                "not all modules that declare tasks could be imported: runs that this process "
                "starts of a task it does not know have none of its options, as its queue and "
                "ttl. Repair what these modules import, and restart this process"
            )
        finally:
            self._is_over = True
