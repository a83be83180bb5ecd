"""Records of durable queues: what they allow, which runs stand in line and which hold a slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Self
from uuid import UUID

from trigger_celery.vocabulary.records.runs import Nudge, Run
from trigger_celery.vocabulary.states import RunState

EVERYTHING = "*"
"""The name of the queue that every run is in: the limits of the deployment."""
OF_TASK = "task/"
"""What the name of a task's own queue begins with."""
REQUESTS = "*"
"""What stands before the kind of a request, as in ``*token``, where rates of requests are kept.

They are kept as rates of keys are, and no durable queue can be called so."""


def line_of(queue: str, task: str) -> str:
    """Return the queue that a run stands in line for: the one it was given, or its task's own."""
    return queue or OF_TASK + task


def in_line_of(run: Run) -> str:
    """Return the queue that a run stands in line for until it is let in, or ""."""
    # A run that waits for a time is due then, a nudged one is due too; a paused one is neither.
    waits = run.state is RunState.QUEUED and run.due_at is None and run.paused_at is None
    return line_of(run.spec.queue, run.task) if waits else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often runs may start: one each ``interval``, and up to ``burst`` of them at once.

    It counts by the generic cell rate algorithm: a time, ``due``, says when the next one is due;
    up to ``tolerance`` before it one is allowed.
    """

    interval: timedelta
    burst: int = 1

    @property
    def tolerance(self) -> timedelta:
        """How long before it is due the next one is allowed."""
        return self.interval * (self.burst - 1)

    def after_one(self, due: datetime | None, now: datetime) -> datetime:
        """Return when the next one is due after one that is counted now."""
        return max(due or now, now) + self.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many runs may execute at a time and how often they may start; None for no limit.

    ``key_concurrency`` and ``key_rate`` hold for each concurrency key by itself.
    """

    concurrency: int | None = None
    key_concurrency: int | None = None
    rate: Rate | None = None
    key_rate: Rate | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueue:
    """A queue as it is stored: what code says of it, and what people changed since.

    ``overrides`` holds the limits that stand in for declared ones, by their names in
    :class:`Limits`. A paused queue starts nothing.
    """

    name: str
    declared: Limits = NO_LIMITS
    overrides: Mapping[str, int | Rate | None] = field(default_factory=dict)
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""

    @property
    def limits(self) -> Limits:
        """The limits that hold."""
        return replace(self.declared, **self.overrides)  # type: ignore[arg-type]

    @property
    def is_limited(self) -> bool:
        """Whether runs of this queue have to ask for a slot."""
        return self.paused_at is not None or self.limits != NO_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What decides which limits a run meets; ``starts`` says that it was never started.

    ``queue`` is what :func:`line_of` says.
    """

    run_id: UUID
    queue: str
    key: str
    task: str
    starts: bool

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of the queues whose limits hold for it, in the order of their locks."""
        return tuple(sorted({EVERYTHING, OF_TASK + self.task, self.queue}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A run that holds a slot."""

    run_id: UUID
    queue: str
    key: str
    task: str
    worker: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """How full a queue is: runs that hold its slots, runs in line, and the longest wait.

    A run that was promised a slot waits until it has taken it.
    """

    name: str
    held: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Which runs to nudge because there is room now, and when to look again for rates' sake.

    ``more`` says that there may be room for others: the limit of the call was reached.
    """

    nudges: tuple[Nudge, ...] = ()
    again_in: timedelta | None = None
    more: bool = False


class Created(frozenset[UUID]):
    """The ids of runs that were new; ``lines`` names the queues of those that stand in line.

    Runs in line are not to be nudged: their admission does that.
    """

    lines: Mapping[UUID, str] = MappingProxyType({})

    def standing(self, lines: Mapping[UUID, str]) -> Self:
        """Note the queues of those that stand in line; return the ids."""
        self.lines = lines
        return self
