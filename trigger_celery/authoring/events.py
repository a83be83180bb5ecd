"""``send_event``: what wakes the runs that wait for it."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid5

from trigger_celery.authoring.context import StepCall, current_session
from trigger_celery.authoring.names import valid_name
from trigger_celery.authoring.runtime import installed
from trigger_celery.authoring.steps import line_of, primitive
from trigger_celery.records import StepKind


@primitive
def send_event(name: str, payload: object = None, *, id: str | None = None) -> Any:
    """Store an event and wake the runs that wait for it; return its id.

    It is stored in the caller's transaction and appears, or vanishes, with it. ``id`` makes
    it unique: a second event with the same id is not stored and wakes nobody. In a task's
    body the call is a step with an id of its own, so a crash sends nothing twice.

    Raises :exc:`InvalidName`, ``EncodeError``, ``PayloadTooLarge``.
    """
    valid_name(name, "an event's name")
    if id is not None:
        valid_name(id, "an event's id")
    verbs = installed()
    session = current_session()
    if session is None or session.in_step:
        return verbs.send_event(name, payload, id=id)

    def send() -> str:
        run = session.describe()
        return verbs.send_event(name, payload, id=id or str(uuid5(run.id, run.idempotency_key)))

    return session.step(
        StepCall(
            name=f"send {name}",
            kind=StepKind.SEND,
            fn=send,
            kwargs={},
            source=line_of(sys._getframe(1)),
        )
    )
