"""Events: send one, see what one would do, list those that are stored."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import uuid5

from trigger_celery.body.both_styles import DurableStr
from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.client.access import permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.runs import check_limit
from trigger_celery.engine.waking import preview
from trigger_celery.engine.waking.events import Emitted, emit
from trigger_celery.engine.waking.preview import Preview
from trigger_celery.errors import InvalidOption
from trigger_celery.vocabulary.checks import printable, valid_name, valid_source
from trigger_celery.vocabulary.records import EventFilter, ListedEvent, StepKind


@primitive
def send_event(
    name: str, payload: object = None, *, id: str | None = None, source: str = ""
) -> DurableStr:
    """Store an event, wake the runs that wait for it and start those of ``on_event`` tasks.

    Returns its id. It is stored in the caller's transaction and appears, or vanishes, with
    it. ``id`` makes it unique: a second event with this id from this ``source`` ("" is this
    application) is not stored and does nothing. In a task's body the call is a step with an
    id of its own, so a crash sends nothing twice.

    Raises :exc:`InvalidName`, ``EncodeError``, ``PayloadTooLarge``, and ``EventConflict`` if the
    id stands for an event of another name or payload.
    """
    session = current_session()
    if session is None or session.in_step:
        return cast(DurableStr, store_event(name, payload, id=id, source=source).id)
    _check_names(name, id, source)  # a mistake of the body is no failure of a step

    def send() -> str:
        run = session.describe()
        own = id or str(uuid5(run.id, run.idempotency_key))
        return store_event(name, payload, id=own, source=source, repeatable=id is None).id

    return session.step(
        StepCall(
            name=f"send {name}",
            kind=StepKind.SEND,
            fn=send,
            kwargs={},
            source=source_line(sys._getframe(1)),
        )
    )


def store_event(
    name: str,
    payload: object = None,
    *,
    id: str | None = None,
    source: str = "",
    repeatable: bool = False,
) -> Emitted:
    """Do what :func:`send_event` does in plain code; return also whether the event is new.

    Without a ``source`` it comes from the caller's. ``repeatable`` says that no other event has
    this id.
    """
    permit = permitted("send_event", name)
    _check_names(name, id, source)
    source = source or permit.caller.source
    return emit(permit.engine, name, payload, id=id, source=source, repeatable=repeatable)


def preview_event(name: str, payload: object = None, *, source: str = "") -> Preview:
    """Return what an event would start and wake if it were sent now; nothing is written.

    A run that has several matching waits takes an event once, and is counted for each.
    Raises :exc:`InvalidName`.
    """
    engine = permitted("send_event", name).engine
    _check_names(name, None, source)
    return preview.preview_event(engine, name, payload, source)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInfo:
    """A stored event; ``matched_at`` is when all waits of its time had been compared with it.

    ``sequence`` orders events as they were stored.
    """

    sequence: int
    id: str
    name: str
    payload: Any
    source: str
    received_at: datetime
    matched_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events of a list; ``next`` is the ``cursor`` of the next page, None for the last."""

    events: tuple[EventInfo, ...]
    next: str | None


def list_events(
    *,
    name: str = "",
    source: str | None = None,
    unmatched: bool = False,
    cursor: str | None = None,
    limit: int = 100,
) -> EventPage:
    """Return stored events, the latest first, a page at a time.

    ``source`` "" is this application, None any; ``unmatched`` asks for events that may still
    wake or start something. Raises ``InvalidOption`` for a name, source, cursor or limit (1 to
    1,000) that cannot be, and ``DecodeError``.
    """
    engine = permitted("list_events").engine
    found, after = stored_events(
        name=name, source=source, unmatched=unmatched, cursor=cursor, limit=limit
    )
    events = tuple(
        EventInfo(
            sequence=listed.event.sequence,
            id=listed.event.id,
            name=listed.event.name,
            payload=engine.codec.decode(listed.event.payload),
            source=listed.event.source,
            received_at=listed.event.received_at,
            matched_at=listed.matched_at,
        )
        for listed in found
    )
    return EventPage(events=events, next=after)


def stored_events(
    *,
    name: str = "",
    source: str | None = None,
    unmatched: bool = False,
    cursor: str | None = None,
    limit: int = 100,
) -> tuple[Sequence[ListedEvent], str | None]:
    """Do what :func:`list_events` does for what shows payloads as the text that is stored."""
    events = permitted("list_events").engine.patient.events
    check_limit(limit)
    wanted = EventFilter(
        name=printable(name, "name"),
        source=None if source is None else printable(source, "source"),
        unmatched=unmatched,
    )
    found = events.find(wanted, before=_before(cursor), limit=limit + 1)
    page = found[:limit]
    return page, str(page[-1].event.sequence) if len(found) > limit else None


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not isinstance(cursor, str) or not cursor.isascii() or not cursor.isdigit():
        raise InvalidOption(
            f"expected cursor to be the next of a page of list_events(), got: {cursor!r}"
        )
    return int(cursor)


def _check_names(name: str, id: str | None, source: str) -> None:
    valid_name(name, "an event's name")
    if id is not None:
        valid_name(id, "an event's id")
    valid_source(source, "an event's source")


asend_event = twin(send_event)
alist_events = twin(list_events)
