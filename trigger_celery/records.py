"""What the engine and a store say to each other: frozen records, no behaviour.

Payloads (``input``, ``output``, ``value``, ``payload``, ``error``) are text exactly as
the codec wrote it: a store keeps them and never looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from trigger_celery.states import RunState, WaitState


class StepKind(StrEnum):
    """What a recorded call was; a replay that finds another kind under its key fails."""

    STEP = "step"
    VALUE = "value"
    SEND = "send_event"
    SLEEP = "sleep"
    EVENT = "wait_for_event"
    RETRY = "retry"


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
class Span:
    """When and where something ran and what it used, for the trace page.

    ``cpu`` is thread CPU time, ``peak_memory`` the process's peak in bytes at the end,
    ``queries`` the statements that the body sent, ``source`` is ``file.py:line`` of the call.
    """

    started_at: datetime
    ended_at: datetime
    cpu: timedelta
    peak_memory: int
    queries: int
    worker: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The success of one step. ``position`` is its place in the order of the body's calls."""

    key: str
    kind: StepKind
    value: str
    position: int
    attempt: int
    span: Span
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """A try that raised: of a step, or of the run itself when ``key`` is empty."""

    key: str
    run_attempt: int
    number: int
    error: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWait:
    """Something to wait for. At most one of ``delay`` and ``until`` says how long.

    ``paths`` is the JSON list of the filter's sorted key paths and ``match_hash`` the
    signed 64-bit hash of its values; both empty/None for waits that no event ends.
    """

    key: str
    kind: StepKind
    position: int
    delay: timedelta | None = None
    until: datetime | None = None
    name: str = ""
    filter: str = ""
    paths: str = ""
    match_hash: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """One suspension: the waits to add and the keys of all that may end it.

    ``next_attempt`` is the attempt the run resumes with; ``failed`` is the failure
    whose backoff this is.
    """

    waits: tuple[NewWait, ...]
    keys: tuple[str, ...]
    next_attempt: int
    token: str
    failed: FailedAttempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A named payload that was received and stored; ``sequence`` orders events."""

    sequence: int
    id: str
    name: str
    payload: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be stored; a second one with the same id is not stored again."""

    id: str
    name: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An open event wait; its filter decides whether an event ends it."""

    wait_id: int
    run_id: UUID
    key: str
    name: str
    filter: str


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
class Outcome:
    """One recorded thing of a run, as a replay needs it.

    A checkpoint has ``value``; a wait has ``wait`` (its state), and the ``event`` that
    ended it if one did.
    """

    key: str
    kind: StepKind
    position: int
    value: str | None = None
    wait: WaitState | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """All that earlier segments of a run recorded.

    ``failures`` counts, by step key, the failed attempts of the current run attempt.
    """

    recorded: Mapping[str, Outcome] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)


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
