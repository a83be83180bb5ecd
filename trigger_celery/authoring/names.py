"""Checks the names that users give to events, keys and tasks."""

from __future__ import annotations

from trigger_celery.errors import InvalidName
from trigger_celery.records import EVERYTHING, OF_TASK

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
