"""Checks the names, times and durations that users hand us, where they hand them in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trigger_celery.errors import InvalidName, InvalidOption, InvalidTime
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK

LONGEST = timedelta(days=366 * 100)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Databases keep times beyond these that no Python process can read any more, in some zone."""


def duration(value: timedelta | float, what: str) -> timedelta:
    """Return a duration given as ``timedelta`` or in seconds.

    Raises :exc:`InvalidTime` if it is negative, not finite, or over a hundred years.
    """
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):
        raise InvalidTime(f"expected {what} to be a timedelta or seconds, got: {value!r}")
    if isinstance(value, (int, float)):
        # A whole number may be too large to become a float: compare it as what it is.
        if not abs(value) <= LONGEST.total_seconds():
            raise InvalidTime(f"expected {what} to be at most a hundred years, got: {value!r}")
        value = timedelta(seconds=value)
    if value < timedelta(0):
        raise InvalidTime(f"expected {what} to be zero or more, got: {value!r}")
    if value > LONGEST:
        raise InvalidTime(f"expected {what} to be at most a hundred years, got: {value!r}")
    return value


def instant(value: datetime, what: str) -> datetime:
    """Return an aware ``datetime``.

    Raises :exc:`InvalidTime` if it is naive, or not between the years 1900 and 9000.
    """
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidTime(
            f"expected {what} to be an aware datetime (django.utils.timezone.now() is one), "
            f"got: {value!r}"
        )
    if not EARLIEST <= value < LATEST:
        raise InvalidTime(
            f"expected {what} to lie between the years 1900 and 9000, got: {value.isoformat()}"
        )
    return value


def end_of_wait(value: datetime, what: str) -> datetime:
    """Return an aware ``datetime`` to wait for; any before 1900 is as long over as 1900 is.

    Raises :exc:`InvalidTime` if it is naive, or from the year 9000 on.
    """
    aware = isinstance(value, datetime) and value.utcoffset() is not None
    return EARLIEST if aware and value < EARLIEST else instant(value, what)


LIMIT = 200


def valid_name(value: object, what: str) -> str:
    """Return ``value`` if it is text of 1 to 200 printable characters.

    Raises :exc:`InvalidName` otherwise.
    """
    if not isinstance(value, str) or not 0 < len(value) <= LIMIT or not value.isprintable():
        raise InvalidName(
            f"expected {what} to be printable text of 1 to {LIMIT} characters, got: {value!r}"
        )
    return value


def valid_source(value: object, what: str) -> str:
    """Return ``value`` if events may come from it: "" is this application, all others are names.

    Raises :exc:`InvalidName` otherwise.
    """
    return "" if value == "" else valid_name(value, what)


def printable(value: str, what: str) -> str:
    """Return what is looked for, if it is text that all databases can look for.

    Raises :exc:`InvalidOption` otherwise: PostgreSQL fails at a NUL, others find nothing.
    """
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidOption(f"expected {what} to be printable text, got: {value!r}")
    return value


def valid_queue_name(value: object, what: str) -> str:
    """Return ``value`` if a durable queue may be called so.

    Raises :exc:`InvalidName` for what :func:`valid_name` refuses, and for names that stand
    for the deployment and for tasks: ``*`` and what begins with ``task/``.
    """
    name = valid_name(value, what)
    if name.startswith((EVERYTHING, OF_TASK)):
        raise InvalidName(
            f"expected {what} to begin with neither {EVERYTHING!r} nor {OF_TASK!r}, which stand "
            f"for all runs and for a task's own, got: {name!r}"
        )
    return name
