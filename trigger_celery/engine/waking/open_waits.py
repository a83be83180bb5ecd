"""What a person may do with an open wait: look at it, complete it, skip it, give it more time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from trigger_celery.body.waits import Event
from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.tokens import complete_token
from trigger_celery.errors import InvalidTime, UsageError, WaitNotFound
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import OpenWait, StepKind
from trigger_celery.vocabulary.states import WaitState

SKIPPED = frozenset({StepKind.SLEEP, StepKind.EVENT, StepKind.TOKEN, StepKind.RETRY})
"""Kinds of waits that a person may end as if their time had come."""
COMPLETED = frozenset({StepKind.EVENT, StepKind.TOKEN})
"""Kinds of waits that a person may give a value."""


def open_waits(
    engine: Engine, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int = 100
) -> Sequence[OpenWait]:
    """Return open waits by id: of one run, of one kind, from the one after ``after`` on."""
    return engine.store.open_waits.find(run_id=run_id, kind=kind, after=after, limit=limit)


def open_wait(engine: Engine, wait_id: int) -> OpenWait:
    """Return a wait that is open. Raises :exc:`WaitNotFound`."""
    wait = engine.store.open_waits.get(wait_id)
    if wait is None:
        raise WaitNotFound(f"no open wait has the id {wait_id}: it may have ended by now")
    return wait


def check_verb(wait: OpenWait, verb: str) -> None:
    """Raise what this ``verb`` (complete, skip, extend) raises for such a wait; change nothing."""
    if verb == "complete" and wait.kind not in COMPLETED:
        raise UsageError(
            f"wait {wait.id} is a {wait.kind} and takes no value: only waits for events and "
            f"tokens do.{' Skip it instead.' if wait.kind in SKIPPED else ''}"
        )
    if verb == "skip" and wait.kind not in SKIPPED:
        raise UsageError(
            f"wait {wait.id} is for runs that run {wait.run_id} started: cancel those instead"
        )
    if verb == "extend" and wait.due_at is None:
        raise InvalidTime(f"wait {wait.id} has no end that could be put off")


def complete_wait(engine: Engine, wait_id: int, value: object, *, by: str = "") -> OpenWait:
    """Give a wait what it waits for and return it.

    A token is completed, for all who wait for it; a wait for an event gets one with this
    payload that no other wait sees.

    Raises :exc:`WaitNotFound`, :exc:`UsageError` for a wait that takes no value, and what
    :func:`~trigger_celery.engine.waking.tokens.complete_token` raises.
    """
    wait = open_wait(engine, wait_id)
    check_verb(wait, "complete")
    if wait.token_id is not None:
        complete_token(engine, wait.token_id, value, by=by)
    else:
        now = engine.store.now()
        event = Event(id=str(new_id()), name=wait.name, payload=value, received_at=now)
        text = engine.codec.encode(event, what=f"the payload for wait {wait_id}")
        _end(engine, wait_id, WaitState.COMPLETED, text, by)
    return wait


def skip_wait(engine: Engine, wait_id: int, *, by: str = "") -> OpenWait:
    """End a wait now, as if its time had come, and return it.

    A sleep is over, a retry is tried, a wait for an event or token has timed out.

    Raises :exc:`WaitNotFound`, and :exc:`UsageError` for a wait for other runs.
    """
    wait = open_wait(engine, wait_id)
    check_verb(wait, "skip")
    _end(engine, wait_id, WaitState.TIMEOUT, None, by)
    return wait


def extend_wait(engine: Engine, wait_id: int, delay: timedelta, *, by: str = "") -> OpenWait:
    """Let a wait end so much later and return it as it is then; its token lives as long.

    Raises :exc:`WaitNotFound`, and ``InvalidTime`` for a wait that has no end.
    """
    return engine.patient.open_waits.extend(wait_id, delay, by=by)


def _end(engine: Engine, wait_id: int, state: WaitState, value: str | None, by: str) -> None:
    nudge = engine.patient.open_waits.end(wait_id, state, value=value, by=by)
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
