"""Celery's tracer for durable tasks: what it notes of a run that is left or has failed.

A worker leaves a run, suspended or not its own, by ``raise Ignore``: the only way out of
Celery's tracer that stores no result, fires no callback and shows no success. For each one the
tracer builds two ``ExceptionInfo``, and billiard's copy every position of the bytecode of every
frame: 1.7 ms, 32 KB for the worker's main process, and in time 100-200 MB of heap. So the
tracer is given an exception with one frame, which is small, and builds one description of it.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType, TracebackType
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.app import trace
from celery.app.trace import TraceInfo

logger = logging.getLogger("trigger_celery.task")


def _frame() -> FrameType:
    return sys._getframe()


_SMALL = _frame()


class LeavingInfo(TraceInfo):
    """What the tracer notes of an execution; made before it describes the exception."""

    __slots__ = ()

    def __init__(self, state: str, retval: Any = None) -> None:
        super().__init__(state, retval)
        if state == states.IGNORED:
            retval.__traceback__ = TracebackType(None, _SMALL, 0, _SMALL.f_lineno)
            retval.__context__ = None

    def handle_ignore(self, task: Any, req: Any, **kwargs: Any) -> None:
        """Log nothing: what became of the run is logged where it is known."""

    def handle_failure(
        self, task: Any, req: Any, store_errors: bool = True, call_errbacks: bool = True
    ) -> Any:
        """Publish the failure; an ``on_failure`` of the task that raises takes nothing of it back.

        Celery would publish the end again, as a failure of that method.
        """
        error = self.retval
        try:
            return super().handle_failure(task, req, store_errors, call_errbacks)
        except Exception:
            logger.exception("on_failure of task %s raised after run %s failed", task.name, req.id)
        info = ExceptionInfo((type(error), error, error.__traceback__))
        signals.task_failure.send(
            sender=task,
            task_id=req.id,
            exception=error,
            args=req.args,
            kwargs=req.kwargs,
            traceback=error.__traceback__,
            einfo=info,
        )
        self._log_error(task, req, info)  # type: ignore[attr-defined]  # not in the stubs
        return info

    def handle_retry(self, task: Any, req: Any, store_errors: bool = True, **kwargs: Any) -> Any:
        """Show the retry; the run has stored it, whatever a backend or ``on_retry`` raises here."""
        try:
            return super().handle_retry(task, req, store_errors, **kwargs)
        except Exception:
            logger.exception("the retry of run %s could not be shown", req.id)
        return ExceptionInfo((type(self.retval), self.retval, self.retval.__traceback__))


def durable_tracer(task: Any) -> Any:
    """Return Celery's tracer of a durable task, in a worker.

    Called through Celery's module, where instrumentations put their own ``build_tracer``.
    """
    return trace.build_tracer(task.name, task, app=task.app, Info=LeavingInfo)
