"""An alarm for tests: no thread, it rings when the test calls ring()."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from trigger_celery.ports import Clock


class ManualAlarm:
    """An :class:`~trigger_celery.engine.process.alarm.Alarm` whose due calls :meth:`ring` makes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[str, tuple[float, Callable[[], object]]] = {}

    def set(self, key: str, pause: timedelta, callback: Callable[[], object]) -> None:
        """Keep the call until :meth:`ring`; of several for one ``key`` the last."""
        at = self._clock.monotonic() + pause.total_seconds()
        if key in self._calls:
            at = min(at, self._calls[key][0])
        self._calls[key] = (at, callback)

    def ring(self) -> int:
        """Make the calls whose moment has come by the clock; return how many."""
        now = self._clock.monotonic()
        due = [key for key, (at, _) in sorted(self._calls.items()) if at <= now]
        for callback in [self._calls.pop(key)[1] for key in due]:
            callback()
        return len(due)

    def next_in(self) -> timedelta | None:
        """Return how long it is to the next call, zero if it is due; None without any."""
        if not self._calls:
            return None
        first = min(at for at, _ in self._calls.values())
        return timedelta(seconds=max(0.0, first - self._clock.monotonic()))
