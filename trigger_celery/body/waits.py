"""``sleep``, ``sleep_until`` and ``wait_for_event``: a run that waits and holds nothing."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from trigger_celery.body.both_styles import Durable
from trigger_celery.body.context import Session, WaitCall, current_session, require_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.errors import NestedStep, WaitTimeout
from trigger_celery.values import register
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.checks import duration, end_of_wait, valid_name
from trigger_celery.vocabulary.records import NewWait, Outcome, StepKind, StoredEvent
from trigger_celery.vocabulary.states import WaitState

D = TypeVar("D")


@register(name="trigger_celery.Event")
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that a wait received, or that started the run.

    ``payload`` is the decoded value that was sent, ``source`` names its sender ("" for this
    application). A step or task may return an event as it is.
    """

    id: str
    name: str
    payload: Any
    received_at: datetime
    source: str = ""

    if TYPE_CHECKING:  # awaited where an ``async def`` body waits for it

        def __await__(self) -> Generator[Any, Any, Self]: ...


class _Missing:
    def __repr__(self) -> str:
        return "<no default>"


MISSING: Any = _Missing()


@primitive
def sleep(length: timedelta | float, *, key: str | None = None) -> Durable[None]:
    """Suspend the run for so long (``timedelta`` or seconds); nothing is held meanwhile.

    The end is fixed when the run suspends, by the database's clock: crashes and restarts
    do not move it, and it is never early. In an ``async def`` body write ``await sleep(...)``.

    Raises :exc:`NotInRun`, :exc:`NestedStep` inside a step, :exc:`InvalidTime`.
    """
    session = session_for("sleep()")
    length = duration(length, "sleep's length")
    source = source_line(sys._getframe(1))

    def build(at: str, position: int) -> NewWait:
        return NewWait(key=at, kind=StepKind.SLEEP, position=position, delay=length, source=source)

    return session.wait(
        WaitCall(name="sleep", kind=StepKind.SLEEP, build=build, conclude=_nothing, key=key)
    )


@primitive
def sleep_until(when: datetime, *, key: str | None = None) -> Durable[None]:
    """Suspend the run until an aware ``datetime``; see :func:`sleep`.

    A time that has passed is over at once, however long ago it was. Raises
    :exc:`InvalidTime` for a naive one and for one after the year 8999.
    """
    session = session_for("sleep_until()")
    end = end_of_wait(when, "sleep_until's time")
    source = source_line(sys._getframe(1))

    def build(at: str, position: int) -> NewWait:
        return NewWait(key=at, kind=StepKind.SLEEP, position=position, until=end, source=source)

    return session.wait(
        WaitCall(name="sleep_until", kind=StepKind.SLEEP, build=build, conclude=_nothing, key=key)
    )


@overload
def wait_for_event(
    name: str,
    filter: Mapping[str, object] | None = None,
    *,
    source: str | None = None,
    timeout: timedelta | float | None = None,
    key: str | None = None,
) -> Event: ...


@overload
def wait_for_event(
    name: str,
    filter: Mapping[str, object] | None = None,
    *,
    source: str | None = None,
    timeout: timedelta | float | None = None,
    default: None,
    key: str | None = None,
) -> Any: ...


@overload
def wait_for_event(
    name: str,
    filter: Mapping[str, object] | None = None,
    *,
    source: str | None = None,
    timeout: timedelta | float | None = None,
    default: D,
    key: str | None = None,
) -> Durable[Event | D]: ...


@primitive
def wait_for_event(
    name: str,
    filter: Mapping[str, object] | None = None,
    *,
    source: str | None = None,
    timeout: timedelta | float | None = None,
    default: Any = MISSING,
    key: str | None = None,
) -> Any:
    """Suspend the run until an event of this name arrives that matches ``filter``.

    ``filter`` maps key paths of the payload to conditions, all of which must hold: a scalar
    (equal and of the same type), a list of scalars, operators as ``{"$gte": 10}``; ``source`` is
    the only one whose events count: "" (this application), a webhook source, ``"api:NAME"`` (the
    API keys of that name). Events count from when the run was triggered, so one before the wait
    is not missed; a run takes each once, of several the one sent first. Returns an :class:`Event`.
    After ``timeout`` (``timedelta`` or seconds; None waits for ever) returns ``default`` if one is
    given, else raises :exc:`WaitTimeout`. Raises :exc:`NotInRun`, :exc:`NestedStep` inside a step,
    :exc:`InvalidName`, :exc:`InvalidFilter`, :exc:`InvalidTime`.
    """
    session = session_for("wait_for_event()")
    valid_name(name, "an event's name")
    wanted = Filter(name, filter, session.codec, source=source)
    wait = NewWait(
        key="",
        kind=StepKind.EVENT,
        position=0,
        delay=None if timeout is None else duration(timeout, "wait_for_event's timeout"),
        name=name,
        filter=wanted.text,
        paths=wanted.paths,
        match_hash=wanted.match_hash,
        source=source_line(sys._getframe(1)),
    )
    build = partial(_placed, wait)
    conclude = partial(_concluded, session, wait, default)
    return session.wait(
        WaitCall(name=name, kind=StepKind.EVENT, build=build, conclude=conclude, key=key)
    )


def _placed(wait: NewWait, key: str, position: int) -> NewWait:
    return replace(wait, key=key, position=position)


def _concluded(session: Session, wait: NewWait, default: object, outcome: Outcome) -> object:
    if outcome.wait is WaitState.EVENT and outcome.event is not None:
        return _event(session, outcome.event)
    if outcome.wait is WaitState.COMPLETED and outcome.value is not None:
        return session.decode(outcome.value)  # a person completed it, with an Event of its own
    if default is not MISSING:
        return default
    raise WaitTimeout(f"no event {wait.name!r} matched within {wait.delay}")


def _event(session: Session, event: StoredEvent) -> Event:
    return Event(
        id=event.id,
        name=event.name,
        payload=session.decode(event.payload),
        received_at=event.received_at,
        source=event.source,
    )


def _nothing(outcome: Outcome) -> None:
    return None


def session_for(what: str) -> Session:
    """Return the session of the body that ``what`` suspends.

    Raises :exc:`NotInRun` outside of any run and :exc:`NestedStep` inside a step.
    """
    session = current_session()
    if session is not None and session.in_step:
        raise NestedStep(
            f"{what} was called inside step {session.describe().step_key!r}: a step runs in one "
            "go and cannot wait. Wait in the task's body, before or after the step."
        )
    return require_session(what)
