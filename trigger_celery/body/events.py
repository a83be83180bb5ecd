"""``send_event``: what wakes the runs that wait for it."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid5

from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.runtime import installed
from trigger_celery.body.steps import line_of, primitive
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery.vocabulary.records import StepKind


@primitive
def send_event(
    name: str, payload: object = None, *, id: str | None = None, source: str = ""
) -> Any:
    """Store an event, wake the runs that wait for it and start those of ``on_event`` tasks.

    Returns its id. It is stored in the caller's transaction and appears, or vanishes, with
    it. ``id`` makes it unique: a second event with this id from this ``source`` ("" is this
    application) is not stored and does nothing. In a task's body the call is a step with an
    id of its own, so a crash sends nothing twice.

    Raises :exc:`InvalidName`, ``EncodeError``, ``PayloadTooLarge``.
    """
    valid_name(name, "an event's name")
    if id is not None:
        valid_name(id, "an event's id")
    if source != "":
        valid_name(source, "an event's source")
    verbs = installed()
    session = current_session()
    if session is None or session.in_step:
        return verbs.send_event(name, payload, id=id, source=source)

    def send() -> str:
        run = session.describe()
        own = id or str(uuid5(run.id, run.idempotency_key))
        return verbs.send_event(name, payload, id=own, source=source)

    return session.step(
        StepCall(
            name=f"send {name}",
            kind=StepKind.SEND,
            fn=send,
            kwargs={},
            source=line_of(sys._getframe(1)),
        )
    )
