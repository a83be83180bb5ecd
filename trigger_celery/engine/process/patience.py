"""Repeats a write while the database is away: every verb of a store may be called again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from trigger_celery.errors import StoreUnavailable
from trigger_celery.ports import Clock

T = TypeVar("T")
logger = logging.getLogger("trigger_celery.store")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0


def persist(verb: Callable[[], T], *, clock: Clock, patience: timedelta) -> T:
    """Return what ``verb`` returns, calling it again after :exc:`StoreUnavailable`.

    Pauses double from 50 ms to 5 s. After ``patience`` the error is raised. The same
    ``verb`` carries the same token each time, so a commit whose answer was lost is found.
    """
    give_up = clock.monotonic() + patience.total_seconds()
    pause = FIRST_PAUSE
    while True:
        try:
            return verb()
        except StoreUnavailable as error:
            if clock.monotonic() + pause > give_up:
                raise
            logger.warning("the database is away, trying again in %.2f s: %s", pause, error)
            clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
