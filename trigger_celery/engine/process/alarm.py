"""Calls back later in this process: one thread for all callers that wait for a moment to come."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from trigger_celery.ports import Clock, Store

logger = logging.getLogger("trigger_celery.alarm")

LOOK_UP = 60.0
"""Seconds that the thread sleeps at most: a machine that was asleep itself is noticed."""


class Alarm(Protocol):
    """Calls back later. Nothing depends on it: a process that dies before forgets the call."""

    def set(self, key: str, pause: timedelta, callback: Callable[[], object]) -> None:
        """Call back after ``pause``, once: ``key`` has one call, which the last one replaces.

        It is made at the earliest of the moments that were asked for.
        """


@dataclass(frozen=True, slots=True)
class _Call:
    at: float
    callback: Callable[[], object]


class AlarmThread:
    """Implements :class:`Alarm` with one daemon thread, started at the first call of a process.

    Whenever the thread goes to sleep it closes what it holds of the database.
    """

    def __init__(self, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._calls: dict[str, _Call] = {}
        self._thread: threading.Thread | None = None

    def set(self, key: str, pause: timedelta, callback: Callable[[], object]) -> None:
        """Call back after ``pause``, in another thread; what the callback raises is logged."""
        at = self._clock.monotonic() + pause.total_seconds()
        if self._pid != os.getpid():  # a fork copies the object but not its thread
            self._reset()
        with self._changed:
            known = self._calls.get(key)
            is_first = all(at < call.at for call in self._calls.values())
            self._calls[key] = _Call(at if known is None else min(at, known.at), callback)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._keep, name="trigger-celery-alarm", daemon=True
                )
                self._thread.start()
            elif is_first:
                self._changed.notify()

    def _keep(self) -> None:
        self._store.leave_pool()
        while True:
            for key, call in self._due():
                try:
                    call.callback()
                except Exception:  # the thread goes on: others wait for it too
                    logger.exception("alarm %s: its call failed", key)
            try:
                self._store.release()
            except Exception:
                logger.exception("the alarm's connection could not be closed")

    def _due(self) -> list[tuple[str, _Call]]:
        """Wait for calls whose moment has come, and return them."""
        with self._changed:
            while True:
                now = self._clock.monotonic()
                due = [(key, call) for key, call in self._calls.items() if call.at <= now]
                if due:
                    for key, _ in due:
                        del self._calls[key]
                    return sorted(due, key=lambda item: item[1].at)
                times = [call.at for call in self._calls.values()]
                self._changed.wait(min([*(at - now for at in times), LOOK_UP]))
