"""How far the clock of this process is from the database's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

READINGS = 3
TOLERATED = timedelta(seconds=1)
"""By so much the clocks may differ without a word."""


def clock_skew(
    database_time: Callable[[], datetime],
    process_time: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> timedelta:
    """Return by how much the process's clock is ahead of the database's, negative if behind.

    The database's time is taken for that of the middle of the question. Of several readings the
    fastest counts: no more than half of its duration can be wrong.
    """
    readings = [_reading(database_time, process_time) for _ in range(READINGS)]
    _, skew = min(readings, key=lambda reading: reading[0])
    return skew


def _reading(
    database_time: Callable[[], datetime], process_time: Callable[[], datetime]
) -> tuple[timedelta, timedelta]:
    asked = process_time()
    answer = database_time()
    took = process_time() - asked
    return took, asked + took / 2 - answer
