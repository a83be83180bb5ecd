"""The clock inside a process: what elapses here.

Nothing that decides (leases, timers, timeouts) reads it: that clock is the database's.
"""

from __future__ import annotations

import time


class SystemClock:
    """The process's own monotonic clock."""

    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        """Block this thread for so many seconds."""
        time.sleep(seconds)
