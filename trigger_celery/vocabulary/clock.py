"""The clocks inside a process: what elapses here, and labels for people.

Nothing that decides (leases, timers, timeouts) reads these: that clock is the database's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta


class SystemClock:
    """The process's own monotonic clock."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread for so many seconds."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A database time read at one monotonic instant, to label what follows on one time line.

    Two workers whose wall clocks differ still draw one consistent trace.
    """

    at: datetime
    monotonic: float

    def label(self, monotonic: float) -> datetime:
        """Return the database's time at ``monotonic`` seconds of this process."""
        return self.at + timedelta(seconds=monotonic - self.monotonic)
