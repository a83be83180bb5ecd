"""Tokens: what one outside party is handed, and a run waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID, uuid5

from trigger_celery.body.both_styles import Durable
from trigger_celery.body.context import Session, StepCall, WaitCall, current_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.body.waits import MISSING, session_for
from trigger_celery.client.access import Permit, installed_engine, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.engine.waking import tokens
from trigger_celery.errors import InvalidOption, WaitTimeout
from trigger_celery.values import register
from trigger_celery.values.schemas import schema_text
from trigger_celery.vocabulary.checks import duration, valid_name
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewToken, NewWait, Outcome, StepKind, StoredToken
from trigger_celery.vocabulary.states import WaitState

TAGS = 10


@register(name="trigger_celery.Token")
@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token to hand out. ``expires_at`` is when it can no longer be completed, or None.

    It may be stored and passed on like any value: its secret is only in :attr:`url`, which is
    computed where it is asked for.
    """

    id: UUID
    expires_at: datetime | None

    if TYPE_CHECKING:  # awaited where an ``async def`` body creates it

        def __await__(self) -> Generator[Any, Any, Self]: ...

    @property
    def url(self) -> str:
        """The URL that completes the token, once: hand it to the one party that may."""
        return installed_engine().token_url(self.id)


@primitive
def create_token(
    *,
    timeout: timedelta | float | None = None,
    tags: Iterable[str] = (),
    schema: Any = None,
    key: str | None = None,
) -> Token:
    """Create a token in the caller's transaction and return a :class:`Token`.

    It can be completed once, within ``timeout`` (``timedelta`` or seconds; None: for ever).
    ``schema`` is a JSON Schema as a dict, or a pydantic model class; a value that it does not
    allow is refused and the token stays open. ``tags`` are up to ten names for people. In a
    task's body the call is a step, called ``key`` if given, and every replay gets the same
    token; await it in an ``async def`` body.

    Raises :exc:`InvalidOption`, :exc:`InvalidTime`, :exc:`InvalidName`, and ``UsageError``
    for a schema without the extra ``schema``.
    """
    length = None if timeout is None else duration(timeout, "a token's timeout")
    names, text = _tags(tags), schema_text(schema)
    session = current_session()

    def create(id: UUID, run_id: UUID | None = None) -> Token:
        new = NewToken(id=id, timeout=length, schema=text, tags=names, run_id=run_id)
        stored = tokens.create_token(permitted("create_token").engine, new)
        return Token(id=stored.id, expires_at=stored.expires_at)

    if session is None:
        return create(new_id())
    run = session.describe()
    if session.in_step:
        return create(new_id(), run.id)

    def step() -> Token:
        return create(uuid5(run.id, session.describe().idempotency_key), run.id)

    return _step(session, "create_token", step, sys._getframe(1), key=key)


@primitive
def wait_for_token(
    token: Token | UUID | str,
    *,
    timeout: timedelta | float | None = None,
    default: Any = MISSING,
    key: str | None = None,
) -> Any:
    """Suspend the run until the token, or the one with this id, is completed.

    Returns the value that it was completed with, at once if that happened before. When the
    token's time or ``timeout`` is over, or the token is canceled, returns ``default`` if one
    is given, else raises :exc:`WaitTimeout`. Any number of runs may wait for one token.

    Raises :exc:`NotInRun`, :exc:`NestedStep` inside a step, :exc:`InvalidTime`,
    ``TokenNotFound``.
    """
    session = session_for("wait_for_token()")
    token_id = id_of(token)
    length = None if timeout is None else duration(timeout, "wait_for_token's timeout")
    wait = NewWait(
        key="",
        kind=StepKind.TOKEN,
        position=0,
        token_id=token_id,
        source=source_line(sys._getframe(1)),
    )
    return session.wait(
        WaitCall(
            name="wait_for_token",
            kind=StepKind.TOKEN,
            build=partial(_placed, wait, token_id, length),
            conclude=partial(_concluded, session, token_id, default),
            key=key,
            build_reads=True,
        )
    )


@primitive
def complete_token(
    token: Token | UUID | str, value: object = None, *, by: str = ""
) -> Durable[None]:
    """Complete a token in the caller's transaction: runs that wait for it get ``value``.

    The first completion wins. ``by`` names its author, for the record. In a task's body
    the call is a step; await it in an ``async def`` body.

    Raises ``TokenNotFound``, ``TokenClosed``, ``InvalidPayload`` for what its schema does not
    allow, ``EncodeError`` and ``PayloadTooLarge``; then nothing has happened.
    """
    token_id, session = id_of(token), current_session()
    if session is None or session.in_step:
        permit = permitted("complete_token", token_id, by=by)
        _check_seen(permit, token_id)
        tokens.complete_token(permit.engine, token_id, value, by=permit.by)
        return cast(Durable[None], None)

    def complete() -> None:
        permit = permitted("complete_token", token_id, by=by)
        closer = _in_step(session, permit.by)
        tokens.complete_token(permit.engine, token_id, value, by=closer, repeatable=True)

    return _step(session, "complete_token", complete, sys._getframe(1))


@primitive
def cancel_token(token: Token | UUID | str, *, by: str = "") -> Durable[bool]:
    """Cancel a token in the caller's transaction: runs that wait for it time out at once.

    Returns False if it was closed before or its time was over. Raises ``TokenNotFound``. In a
    task's body the call is a step; await it in an ``async def`` body.
    """
    token_id, session = id_of(token), current_session()
    if session is None or session.in_step:
        permit = permitted("cancel_token", token_id, by=by)
        return cast(Durable[bool], tokens.cancel_token(permit.engine, token_id, by=permit.by))

    def cancel() -> bool:
        permit = permitted("cancel_token", token_id, by=by)
        closer = _in_step(session, permit.by)
        return tokens.cancel_token(permit.engine, token_id, by=closer, repeatable=True)

    return _step(session, "cancel_token", cancel, sys._getframe(1))


def get_token(token: Token | UUID | str) -> StoredToken:
    """Return a token as it is stored: its state, its value, and when it ends.

    Raises ``TokenNotFound``.
    """
    token_id = id_of(token)
    return tokens.get_token(permitted("get_token", token_id).engine, token_id)


def id_of(token: object) -> UUID:
    """Return the id of a token that is given itself, or by its id as ``UUID`` or text.

    Raises :exc:`InvalidOption` for anything else.
    """
    try:
        return token.id if isinstance(token, Token) else UUID(str(token))
    except ValueError:
        raise InvalidOption(f"expected a token, or its id, got: {token!r}") from None


def _step(
    session: Session, name: str, fn: Callable[[], object], frame: Any, key: str | None = None
) -> Durable[Any]:
    source = source_line(frame)
    return session.step(
        StepCall(name=name, kind=StepKind.VALUE, fn=fn, kwargs={}, key=key, source=source)
    )


def _check_seen(permit: Permit, token_id: UUID) -> None:
    """Raise ``TokenNotFound`` for a token that no run created which there is for the caller."""
    if permit.caller.tasks is None:
        return
    run_id = tokens.get_token(permit.engine, token_id).run_id
    run = None if run_id is None else permit.engine.patient.runs.get(run_id)
    if run is None or not permit.sees(run.spec.task):
        raise tokens.no_token(token_id)


def _in_step(session: Session, by: str) -> str:
    """Name the step that closes a token: a crash before its checkpoint repeats it, no other."""
    run = session.describe()
    step = f"run {run.id}, step {run.step_key}"
    return f"{by[:100]} in {step}" if by else step


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidOption(f"expected a token's tags to be a list of names, got: {tags!r}")
    names = tuple(valid_name(tag, "a token's tag") for tag in tags)
    if len(names) > TAGS:
        raise InvalidOption(f"expected a token to have at most {TAGS} tags, got: {len(names)}")
    return names


def _placed(
    wait: NewWait, token_id: UUID, own: timedelta | None, key: str, position: int
) -> NewWait:
    until = _end(tokens.get_token(installed_engine(), token_id), own)
    return replace(wait, key=key, position=position, until=until)


def _end(token: StoredToken, own: timedelta | None) -> datetime | None:
    """Return when a wait for the token ends: with its time or the wait's own, the earlier."""
    ends = (token.expires_at, None if own is None else token.read_at + own)
    return min((at for at in ends if at is not None), default=None)


def _concluded(session: Session, token_id: UUID, default: object, outcome: Outcome) -> object:
    if outcome.wait is WaitState.COMPLETED and outcome.value is not None:
        return session.decode(outcome.value)
    if default is not MISSING:
        return default
    raise WaitTimeout(f"token {token_id} was not completed in time, or was canceled")


acreate_token = twin(create_token)
acomplete_token = twin(complete_token)
acancel_token = twin(cancel_token)
