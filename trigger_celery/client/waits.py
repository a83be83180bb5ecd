"""Open waits by their ids: list them, complete one, skip it, let it end later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

from trigger_celery.body.waits import Event
from trigger_celery.client.access import Permit, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.runs import as_run_id
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.waking.tokens import complete_token
from trigger_celery.errors import InvalidTime, UsageError, WaitNotFound
from trigger_celery.vocabulary.checks import duration, printable
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Nudge, OpenWait, StepKind
from trigger_celery.vocabulary.states import WaitState

SKIPPED = frozenset({StepKind.SLEEP, StepKind.EVENT, StepKind.TOKEN, StepKind.RETRY})
"""Kinds of waits that a person may end as if their time had come."""
COMPLETED = frozenset({StepKind.EVENT, StepKind.TOKEN})
"""Kinds of waits that a person may give a value."""


def open_waits(
    *, run_id: UUID | str | None = None, kind: str = "", after: int = 0, limit: int = 100
) -> Sequence[OpenWait]:
    """Return open waits by id: of one run, of one kind (``"wait_for_event"``), a page at a time.

    The next page is that ``after`` the id of the last one.
    """
    of_run = None if run_id is None else as_run_id(run_id)
    waits = permitted("open_waits", of_run).engine.patient.open_waits
    return waits.find(run_id=of_run, kind=printable(kind, "kind"), after=after, limit=limit)


def complete_wait(wait_id: int, value: object = None, *, by: str = "") -> OpenWait:
    """Give a wait for a token or an event its value, as the outside would have; return it.

    The token is completed for all runs that wait for it; the event is seen by this wait
    alone. ``by`` names the person, for the record.

    Raises ``WaitNotFound``, ``UsageError`` for a wait that takes no value, and what
    ``complete_token`` raises.
    """
    permit = permitted("complete_wait", wait_id, by=by)
    engine = permit.engine
    wait = _open_wait(engine, wait_id)
    _check_verb(wait, "complete")
    if wait.token_id is not None:
        complete_token(engine, wait.token_id, value, by=permit.by)
    else:
        now = engine.patient.now()
        event = Event(id=str(new_id()), name=wait.name, payload=value, received_at=now)
        text = engine.codec.encode(event, what=f"the payload for wait {wait_id}")
        _end(permit, wait, WaitState.COMPLETED, text)
    return wait


def skip_wait(wait_id: int, *, by: str = "") -> OpenWait:
    """End a sleep, a backoff or a wait now, as if its time had come; return it.

    A wait for an event or token gets its default, or raises ``WaitTimeout`` in the body.

    Raises ``WaitNotFound``, and ``UsageError`` for a wait for other runs.
    """
    permit = permitted("skip_wait", wait_id, by=by)
    wait = _open_wait(permit.engine, wait_id)
    _check_verb(wait, "skip")
    _end(permit, wait, WaitState.TIMEOUT, None)
    return wait


def extend_wait(wait_id: int, delay: timedelta | float, *, by: str = "") -> OpenWait:
    """Let a wait end later by ``delay`` (``timedelta`` or seconds); return it as it is then.

    Its token lives at least as long. Raises ``WaitNotFound``, and ``InvalidTime`` also for a
    wait that has no end.
    """
    permit = permitted("extend_wait", wait_id, by=by)
    length = duration(delay, "the extension of a wait")
    engine, call = permit.engine, new_token()
    record = {**permit.record, run_control.CALL: call}

    def extend(again: bool) -> OpenWait:
        now = engine.store.open_waits.get(wait_id) if again else None
        if now is not None and run_control.is_noted(engine, now.run_id, call):
            return now  # it was done, its answer was lost
        return engine.store.open_waits.extend(wait_id, length, record)

    return engine.resolve(extend)


def checked_wait(wait_id: int, verb: Literal["complete", "skip", "extend"]) -> OpenWait:
    """Return an open wait that ``verb`` can be done to; nothing is changed.

    Raises what the verb itself would raise for the wait.
    """
    wait = _open_wait(permitted("open_waits", wait_id).engine, wait_id)
    _check_verb(wait, verb)
    return wait


def _open_wait(engine: Engine, wait_id: int) -> OpenWait:
    wait = engine.patient.open_waits.get(wait_id)
    if wait is None:
        raise WaitNotFound(f"no open wait has the id {wait_id}: it may have ended by now")
    return wait


def _check_verb(wait: OpenWait, verb: str) -> None:
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


def _end(permit: Permit, wait: OpenWait, state: WaitState, value: str | None) -> None:
    engine, call = permit.engine, new_token()
    record = {**permit.record, run_control.CALL: call}

    def end(again: bool) -> Nudge | None:
        try:
            return engine.store.open_waits.end(wait.id, state, record, value=value)
        except WaitNotFound:
            if not (again and run_control.is_noted(engine, wait.run_id, call)):
                raise
            return None  # it was done, its answer was lost: the sweep nudges the run

    nudge = engine.resolve(end)
    if nudge is not None:
        engine.dispatcher.nudge([nudge])


aopen_waits = twin(open_waits)
acomplete_wait = twin(complete_wait)
askip_wait = twin(skip_wait)
aextend_wait = twin(extend_wait)
