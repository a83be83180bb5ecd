"""Stores an event with the caller's work and matches it once that is committed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.matching import match_event
from trigger_celery.errors import EncodeError, EventConflict
from trigger_celery.limits import EVENT_ELEMENTS
from trigger_celery.values.codec import canonical
from trigger_celery.values.strict import elements
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewEvent


def send_event(
    engine: Engine, name: str, payload: object, *, id: str | None = None, source: str = ""
) -> str:
    """Store an event in the caller's transaction and return its id.

    A second one with this id from this source is not stored again, and does nothing.

    Raises ``EncodeError`` or ``PayloadTooLarge`` before anything is written, ``EventConflict`` if
    another event has this id.
    """
    return emit(engine, name, payload, id=id, source=source).id


@dataclass(frozen=True, slots=True)
class Emitted:
    """The id of an event that was sent; ``stored`` is false if it was there already."""

    id: str
    stored: bool


def emit(
    engine: Engine,
    name: str,
    payload: object,
    *,
    id: str | None = None,
    source: str = "",
    repeatable: bool = False,
) -> Emitted:
    """Do what :func:`send_event` does; return whether the event is new.

    ``repeatable`` says that this id is the caller's alone: what is stored under it is this event,
    sent before.
    """
    text = engine.codec.encode(payload, what=f"the payload of event {name!r}")
    # No value is shorter than a character and what parts it from the next one.
    if len(text) >= 2 * EVENT_ELEMENTS and elements(text) > EVENT_ELEMENTS:
        hint = f"it has more than {EVENT_ELEMENTS:,} values: store them elsewhere, send their place"
        raise EncodeError("$", f"the payload of event {name!r}", hint)
    new = NewEvent(id=id or str(new_id()), name=name, payload=text, source=source)

    def store(again: bool) -> Emitted:
        event = engine.store.events.add(new)
        if event is not None:
            engine.after_commit(partial(match_event, engine, event))
            notifications.received(engine, event)
        elif not repeatable and id is not None:
            _check_same(engine, new)
        # What is found by a repeat was stored by the call before it; the sweep matches it.
        return Emitted(new.id, event is not None or (again and id is None))

    return engine.resolve(store)


def _check_same(engine: Engine, new: NewEvent) -> None:
    """Raise :exc:`EventConflict` if the event that is stored under this id is another one."""
    stored = engine.store.events.get(new.id, source=new.source)
    if stored is None:  # deleted since, as its retention was over
        return
    what = "name" if stored.name != new.name else "payload"
    if stored.name == new.name and canonical(stored.payload) == canonical(new.payload):
        return
    raise EventConflict(
        f"the id {new.id[:80]!r} of an event from {_sender(new.source)} stands for one of another "
        f"{what}: one id stands for one event. Nothing was stored"
    )


def _sender(source: str) -> str:
    return f"source {source[:80]!r}" if source else "this application"
