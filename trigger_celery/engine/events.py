"""Stores an event with the caller's work and matches it once that is committed."""

from __future__ import annotations

from functools import partial

from trigger_celery.engine.app import Engine
from trigger_celery.engine.matching import match_event
from trigger_celery.identity import new_id
from trigger_celery.records import NewEvent


def send_event(engine: Engine, name: str, payload: object, *, id: str | None = None) -> str:
    """Store an event in the caller's transaction and return its id.

    Raises ``EncodeError`` or ``PayloadTooLarge`` before anything is written.
    """
    text = engine.codec.encode(payload, what=f"the payload of event {name!r}")
    new = NewEvent(id=id or str(new_id()), name=name, payload=text)
    event = engine.store.events.add(new)
    if event is not None:
        engine.store.on_commit(partial(match_event, engine, event))
    return new.id
