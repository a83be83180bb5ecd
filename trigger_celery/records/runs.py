"""Records of runs: how they begin, who owns them, how they end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.records.steps import FailedAttempt
from trigger_celery.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be created; ``delay`` counts from the database's now."""

    id: UUID
    task: str
    input: str
    canvas: str = ""
    delay: timedelta = timedelta(0)
    available_at: datetime | None = None
    max_crashes: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it is stored. ``due_at`` is when the sweep must look at it, or None."""

    id: UUID
    task: str
    state: RunState
    input: str
    output: str | None
    error: str | None
    canvas: str
    version: str
    attempt: int
    crashes: int
    max_crashes: int
    fence: int
    worker: str
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    published_at: datetime | None
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a run: every write is conditional on this fence."""

    run_id: UUID
    fence: int


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
    ``now`` is the database's time of the claim.
    """

    run: Run
    lease: Lease
    now: datetime
    publishing: bool
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """A hint that a run may be claimed now; ``canvas`` tells where to publish it."""

    run_id: UUID
    task: str
    canvas: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ends. ``publish`` is false when nobody waits for callbacks or a result."""

    state: RunState
    token: str
    output: str | None = None
    error: str | None = None
    fingerprint: str = ""
    publish: bool = True
    publish_within: timedelta = timedelta(seconds=60)
    failed: FailedAttempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What one pass of the sweep found: whom to nudge, and whose waits to look events up for.

    ``unlooked`` holds the leases (run and fence) of suspended runs.
    """

    nudges: tuple[Nudge, ...] = ()
    unlooked: tuple[Lease, ...] = ()

    def __len__(self) -> int:
        return len(self.nudges) + len(self.unlooked)


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
