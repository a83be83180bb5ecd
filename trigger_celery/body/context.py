"""The run that the current code belongs to, and what a body may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.both_styles import Durable
from trigger_celery.errors import NotInRun
from trigger_celery.ports import Codec
from trigger_celery.vocabulary.records import NewRun, NewWait, Outcome, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun:
    """Which nominal time of which schedule started a run; times are in the schedule's zone.

    ``nominal_at`` is the time that the rule names, whenever the run was really created;
    ``last_at`` is the one before that started a run, ``upcoming`` are the next five.
    """

    key: str
    nominal_at: datetime
    last_at: datetime | None
    upcoming: tuple[datetime, ...]
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """The run as its body may see it.

    ``attempt`` counts the tries of the run from 1, ``fence`` grows with every claim,
    ``deadline`` is when it times out, ``max_attempts`` counts the first try,
    ``parent_id`` is the run that started it if one did and ``root_id`` the run at the top of
    that tree, ``schedule`` says which nominal time of which schedule did.
    """

    id: UUID
    task: str
    attempt: int
    crashes: int
    fence: int
    created_at: datetime
    step_key: str | None
    parent_id: UUID | None = None
    root_id: UUID | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    max_attempts: int = 1
    deadline: datetime | None = None
    queue: str = ""
    concurrency_key: str = ""
    schedule: ScheduledRun | None = None

    @property
    def idempotency_key(self) -> str:
        """A key that is the same each time this step of this run is tried.

        Hand it to a payment gateway and the like: a step's body may run again after a crash.
        """
        return f"{self.id}:{self.step_key}" if self.step_key else str(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """One call whose outcome is to be recorded."""

    name: str
    kind: StepKind
    fn: Callable[..., object]
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object]
    key: str | None = None
    retry: RetryPolicy | None = None
    atomic: bool = False
    timeout: timedelta | None = None
    is_async: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCall:
    """One wait: ``build`` makes its record for a key and position, ``conclude`` reads its end.

    ``build`` is not called on a replay, so that what was valid once is not judged again.
    ``build_reads`` says that it asks the store, which an event loop must not wait for.
    """

    name: str
    kind: StepKind
    build: Callable[[str, int], NewWait]
    conclude: Callable[[Outcome], object]
    key: str | None = None
    build_reads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """``size`` runs to be started and waited for.

    ``build`` makes them all; they get their ids and their parent from the engine. It is not
    called on a replay. ``conclude`` is given what each returned, in order, or the
    ``ChildRunFailed`` of it; None after the ``timeout``.
    """

    name: str
    size: int
    build: Callable[[], Sequence[NewRun]]
    conclude: Callable[[Sequence[object] | None], object]
    timeout: timedelta | None = None
    key: str | None = None
    source: str = ""
    kind: StepKind = StepKind.CHILDREN


class Session(Protocol):
    """One segment of a run, seen from its body.

    In an ``async def`` body :meth:`step`, :meth:`wait` and all that combines them return an
    awaitable of the value.
    """

    @property
    def is_async(self) -> bool: ...

    @property
    def in_step(self) -> bool: ...

    @property
    def codec(self) -> Codec: ...

    def describe(self) -> CurrentRun: ...

    def step(self, call: StepCall) -> Durable[Any]: ...

    def wait(self, call: WaitCall) -> Durable[Any]: ...

    def fan_out(self, call: FanOut) -> Durable[Any]: ...

    def gather(
        self, branches: Sequence[Any], *, return_exceptions: bool, max_parallel: int
    ) -> Durable[Any]: ...

    def wait_any(
        self, branches: Sequence[Any], *, key: str | None, max_parallel: int, source: str
    ) -> Durable[Any]: ...

    def heartbeat(self) -> None: ...

    def now(self) -> datetime: ...

    def decode(self, text: str) -> object: ...

    def child_id(self, task: str) -> UUID: ...

    def is_shared_process(self) -> bool: ...

    def misused(self, error: Exception) -> None: ...


_session: ContextVar[Session | None] = ContextVar("trigger_celery_session", default=None)


current_session: Callable[[], Session | None] = _session.get
"""Return the session of the run that the calling code belongs to, or None."""

step_key: ContextVar[str | None] = ContextVar("trigger_celery_step", default=None)
"""The key of the step whose body the calling code is in, or None."""


def require_session(what: str) -> Session:
    """Return the session, or raise :exc:`NotInRun` naming the call that needs one."""
    session = _session.get()
    if session is None:
        raise NotInRun(
            f"{what} only works inside a durable task: it was called outside of any run. "
            "In a thread of your own, pass the values you need instead."
        )
    return session


class entered:  # reads as a statement: with entered(session)
    """Make ``session`` the current one for a ``with`` block, and always put back what was."""

    def __init__(self, session: Session | None) -> None:
        self._new = session

    def __enter__(self) -> None:
        self._token = _session.set(self._new)

    def __exit__(self, *exc: object) -> None:
        _session.reset(self._token)


def current_run() -> CurrentRun:
    """Return the run that the calling code belongs to. Raises :exc:`NotInRun` outside of any."""
    return require_session("current_run()").describe()


def heartbeat() -> None:
    """Report that a long step makes progress: the lease is extended now, in this thread.

    The worker does so by itself in the background; call it where one C call may hold
    Python for longer than ``heartbeat_timeout``. Raises :exc:`NotInRun` outside of any run.
    """
    require_session("heartbeat()").heartbeat()
