"""Open waits from plain code: what ``manage.py trigger_waits`` does, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from trigger_celery.body.runtime import installed
from trigger_celery.vocabulary.checks import duration
from trigger_celery.vocabulary.records import OpenWait


def open_waits(
    *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int = 100
) -> Sequence[OpenWait]:
    """Return open waits by id: of one run, of one kind (``"wait_for_event"``), a page at a time.

    The next page is that ``after`` the id of the last one.
    """
    return installed().open_waits(run_id=run_id, kind=kind, after=after, limit=limit)


def complete_wait(wait_id: int, value: object = None, *, by: str = "") -> OpenWait:
    """Give a wait for a token or an event its value, as the outside would have; return it.

    The token is completed for all who wait for it; the event is seen by this wait alone.
    ``by`` names the person, for the record.

    Raises ``WaitNotFound``, ``UsageError`` for a wait that takes no value, and what
    ``complete_token`` raises.
    """
    return installed().complete_wait(wait_id, value, by=by)


def skip_wait(wait_id: int, *, by: str = "") -> OpenWait:
    """End a sleep, a backoff or a wait now, as if its time had come; return it.

    A wait for an event or token gets its default, or raises ``WaitTimeout`` in the body.

    Raises ``WaitNotFound``, and ``UsageError`` for a wait for other runs.
    """
    return installed().skip_wait(wait_id, by=by)


def extend_wait(wait_id: int, delay: timedelta | float, *, by: str = "") -> OpenWait:
    """Let a wait end later by ``delay`` (``timedelta`` or seconds); return it as it is then.

    Its token lives at least as long. Raises ``WaitNotFound``, ``InvalidTime``.
    """
    return installed().extend_wait(wait_id, duration(delay, "the extension of a wait"), by=by)
