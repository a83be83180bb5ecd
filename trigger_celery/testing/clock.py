"""A clock that only moves when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock

from trigger_celery.errors import InvalidTime


class ManualClock:
    """Both clocks of a test in one: the database's ``now`` and the process's ``monotonic``.

    They move together, by :meth:`advance` and :meth:`sleep` alone.
    """

    def __init__(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        """Start at ``now``, an aware time. Raises :exc:`InvalidTime` for a naive one."""
        if now.tzinfo is None:
            raise InvalidTime(f"expected the clock's start to be an aware datetime, got: {now!r}")
        self._lock = Lock()
        self._start = now.astimezone(UTC)
        self._elapsed = timedelta(0)

    @property
    def now(self) -> datetime:
        """The time, aware and in UTC."""
        return self._start + self._elapsed

    def advance(self, delta: timedelta) -> datetime:
        """Move on by ``delta`` and return the new time; raises :exc:`InvalidTime` if negative."""
        if delta < timedelta(0):
            raise InvalidTime(f"expected a clock to advance by zero or more, got: {delta!r}")
        with self._lock:
            self._elapsed += delta
            return self.now

    def monotonic(self) -> float:
        """Return the seconds that were advanced so far."""
        return self._elapsed.total_seconds()

    def sleep(self, seconds: float) -> None:
        """Advance by so many seconds, at once."""
        self.advance(timedelta(seconds=seconds))
