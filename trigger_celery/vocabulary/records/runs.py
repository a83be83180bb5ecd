"""Records of runs: how they begin, which worker owns them, how they end, and lists of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from trigger_celery.vocabulary.records.dead_letters import NO_CAUSE, Cause
from trigger_celery.vocabulary.records.steps import FailedAttempt
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What a run is: no transition changes it, only a push back with another input does.

    ``max_duration`` counts from the first start. ``max_attempts`` overrides the task's policy.
    ``parent_id`` is the run that started it, ``parent_key`` the wait of the parent that its end
    serves ("" if none does), ``closes_with_parent`` says that canceling the parent cancels it.
    ``root_id`` is the run at the top of that tree, None for a run without a parent.
    ``origin`` is the text of an :data:`Origin` ("" for a plain call), ``schedule`` the key of
    the schedule that started it ("" if none did), and ``copied_from_id`` is the run that it is
    a rerun or fork of.
    """

    id: UUID
    task: str
    input: str
    canvas: str = ""
    max_crashes: int = 3
    max_duration: timedelta | None = None
    max_attempts: int | None = None
    priority: int = 0
    queue: str = ""
    concurrency_key: str = ""
    tags: tuple[str, ...] = ()
    metadata: str = ""
    parent_id: UUID | None = None
    parent_key: str = ""
    closes_with_parent: bool = False
    root_id: UUID | None = None
    origin: str = ""
    schedule: str = ""
    copied_from_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun(RunSpec):
    """A run to be created: what it is, and when it may start.

    ``delay`` counts from the database's now, unless ``available_at`` names a time. ``ttl``
    counts from when the run may start and ends with its first start; ``expires_at`` is when it
    ends in its place. ``event_cut`` is the
    highest sequence of the events that do not count for it, unless the store is to find it.
    """

    delay: timedelta = timedelta(0)
    available_at: datetime | None = None
    ttl: timedelta | None = None
    expires_at: datetime | None = None
    event_cut: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it is stored: its spec, and what the transitions made of it.

    ``due_at`` is when the sweep must look at it, or None. ``deadline_at`` is when it expires
    (before its first start) or times out (after it). ``paused_at`` is set while a person
    keeps it from going on. ``line_at`` is its place in line for a slot: when it first may
    start, earlier by its priority in seconds. An event counts for it if its sequence is above
    ``event_cut``. What failed under a fence up to ``attempts_after_fence`` belongs to a life
    before a person last retried it; that is 0 for a run that was never retried.
    """

    spec: RunSpec
    state: RunState = RunState.QUEUED
    output: str | None = None
    error: str | None = None
    version: str = ""
    attempt: int = 1
    crashes: int = 0
    fence: int = 0
    attempts_after_fence: int = 0
    event_cut: int = 0
    worker: str = ""
    created_at: datetime
    available_at: datetime
    line_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    published_at: datetime | None = None
    due_at: datetime | None = None
    deadline_at: datetime | None = None
    paused_at: datetime | None = None

    @property
    def id(self) -> UUID:
        """The id of the run, which is the id of its Celery task too."""
        return self.spec.id

    @property
    def task(self) -> str:
        """The name of the task that it runs."""
        return self.spec.task


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a run: every write is conditional on this fence and token.

    The token is the claim's: a database that crashed may have lost a claim, and then it
    grants the same fence again.
    """

    run_id: UUID
    fence: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker asks for. ``length`` is how long it may be silent, ``token`` is random."""

    run_id: UUID
    task: str
    worker: str
    version: str
    length: timedelta
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A granted claim. ``publishing`` means the run has ended and only its callbacks are owed.

    ``replayed`` says that there may be outcomes to load: false on the first segment.
    ``now`` is the database's time of the claim. ``limited`` names the limited queues in which it
    took a slot, of the gates of its :class:`Standing`: others may wait for it there. It is empty
    for a run that needed none. A store may say that it is ``followed``: so many others were
    promised slots just now that an end of theirs is soon enough to let in the runs that wait for
    this slot too.
    """

    run: Run
    lease: Lease
    now: datetime
    publishing: bool
    replayed: bool
    limited: tuple[str, ...] = ()
    followed: bool = field(default=False, compare=False)  # a repeated claim cannot know


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """A hint that a run may be claimed now; ``canvas`` says where to publish it."""

    run_id: UUID
    task: str
    canvas: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ends. ``publish`` is false when no callback and no caller waits for it.

    ``cause`` is what its dead letter says, if the end leaves one. It ``resolves`` the retried dead
    letters of these runs: its own, or that of the run that it is a copy of.
    """

    state: RunState
    token: str
    output: str | None = None
    error: str | None = None
    cause: Cause = NO_CAUSE
    resolves: tuple[UUID, ...] = ()
    publish: bool = True
    publish_within: timedelta = timedelta(seconds=60)
    failed: FailedAttempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one pass of the sweep found: runs to nudge, and runs whose waits need a look-back.

    ``unlooked`` holds the leases (run and fence) of suspended runs; ``failed`` those of the
    nudges whose runs it ended, because they lost too many workers.
    """

    nudges: tuple[Nudge, ...] = ()
    unlooked: tuple[Lease, ...] = ()
    failed: tuple[Nudge, ...] = ()

    def __len__(self) -> int:
        return len(self.nudges) + len(self.unlooked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """A queued run that was nudged and is not claimed although ``due_at`` has come."""

    nudge: Nudge
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentClaim:
    """A run that was claimed lately, and when it had become available for that claim."""

    nudge: Nudge
    available_at: datetime


AHEAD = 10
"""So many times as long as a turn of its own a sweeper takes another's turn for real."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elected:
    """Which sweeper's turn it is, and how long its turn still lasts unless it is elected again."""

    sweeper: str
    lasts: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskVersion:
    """The source of a task, stored once under its digest."""

    digest: str
    task: str
    source: str
    file: str
    first_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition of a run; ``data`` is a JSON object of details."""

    run_id: UUID
    sequence: int
    at: datetime
    verb: str
    state: RunState
    fence: int
    worker: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """What all runs of a list have in common; what is left empty is not asked.

    ``states`` and ``tasks`` name what is allowed, of ``tags`` a run has all. ``root_id`` asks for
    that run and all below it, ``error`` for runs that ended with a failure of this fingerprint.
    Runs were created at ``since`` or later and before ``until``. ``dead_letters`` asks for those
    that failed for good and wait for a person. ``ids`` name the runs themselves.
    """

    ids: tuple[UUID, ...] = ()
    tasks: tuple[str, ...] = ()
    states: tuple[RunState, ...] = ()
    queue: str = ""
    schedule: str = ""
    tags: tuple[str, ...] = ()
    parent_id: UUID | None = None
    root_id: UUID | None = None
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None
    dead_letters: bool = False


@dataclass(frozen=True, slots=True)
class ListPosition:
    """Where a page of a list of runs ends: lists are ordered by when runs were created."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutline:
    """What a list shows of a run: all but its values, which may be long."""

    id: UUID
    task: str
    state: RunState
    attempt: int
    crashes: int
    worker: str
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    paused_at: datetime | None
    tags: tuple[str, ...]
    priority: int
    queue: str
    concurrency_key: str
    schedule: str
    parent_id: UUID | None
    root_id: UUID | None
    copied_from_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun(RunOutline):
    """A run in a list, with its ``error`` as it is stored."""

    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSchedule:
    """A nominal time of a schedule, the one before that started a run, and the next few."""

    schedule: str
    nominal_at: datetime
    last_at: datetime | None
    upcoming: tuple[datetime, ...]
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FromEvent:
    """An event that the task subscribes to."""

    event: str
    name: str
    source: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPerson:
    """A rerun or fork (at ``step``) of another run, or a start over HTTP or in the admin."""

    kind: str
    step: str = ""
    by: str = ""
    reason: str = ""


Origin: TypeAlias = FromSchedule | FromEvent | FromPerson
