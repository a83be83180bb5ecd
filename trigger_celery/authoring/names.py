"""Checks the names that users give to events, keys and tasks."""

from __future__ import annotations

from trigger_celery.errors import InvalidName

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
