"""Records of bulk operations: what a person asked for, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from trigger_celery.vocabulary.records.queues import Created
from trigger_celery.vocabulary.records.runs import ListPosition, NewRun, Nudge, RunFilter
from trigger_celery.vocabulary.states import TERMINAL, UNSUCCESSFUL, RunState


class BulkKind(StrEnum):
    """What a bulk operation does to each of its runs."""

    RETRY = "retry"
    RERUN = "rerun"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    PRIORITIZE = "prioritize"
    MOVE = "move"


LIVE = tuple(state for state in RunState if state not in TERMINAL)
BULK_STATES: Mapping[BulkKind, Sequence[RunState]] = {
    BulkKind.RETRY: tuple(sorted(UNSUCCESSFUL)),
    BulkKind.RERUN: tuple(RunState),
    BulkKind.CANCEL: LIVE,
    BulkKind.PAUSE: LIVE,
    BulkKind.RESUME: LIVE,
    BulkKind.PRIORITIZE: LIVE,
    BulkKind.MOVE: LIVE,
}
"""The states of the runs that each kind can be done to."""


class BulkState(StrEnum):
    """How far a bulk operation is; all but the first two are final."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"

    @property
    def is_over(self) -> bool:
        """Whether no run is touched any more."""
        return self not in (BulkState.RUNNING, BulkState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBulkOperation:
    """What a person asked for: ``kind`` is done to the runs that ``wanted`` finds.

    Runs that were created, or ended, after ``until`` are left alone. ``planned`` is how many runs
    that was at the start, ``at_most`` how many of them, the newest, are meant. ``priority`` and
    ``to_queue`` are what a run gets by the kinds that change them. ``interval`` is the time from
    one run to the next, None for no pause; ``batch_size`` how many runs a transaction moves at
    most. ``run_id`` is the run that carries it out: no other can.
    """

    id: UUID
    kind: BulkKind
    wanted: RunFilter
    until: datetime
    planned: int
    run_id: UUID
    at_most: int | None = None
    priority: int | None = None
    to_queue: str | None = None
    interval: timedelta | None = None
    batch_size: int = 500
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOperation(NewBulkOperation):
    """A bulk operation as it is stored. ``cursor`` is where the next batch goes on.

    ``done`` counts runs, ``skipped`` and ``failed`` count them by why.
    """

    state: BulkState = BulkState.RUNNING
    cursor: ListPosition | None = None
    done: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    created_at: datetime
    ended_at: datetime | None = None

    @property
    def seen(self) -> int:
        """How many runs it has dealt with, whatever became of them."""
        return self.done + sum(self.skipped.values()) + sum(self.failed.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRuns:
    """The runs of one task that a bulk operation would be about, and when they were created."""

    task: str
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkBatch:
    """What one batch did: the ``operation`` after it, and what is to be said to workers.

    ``nudges`` are of runs that may go on or whose end is to be published; ``lines`` are the queues
    in which runs stand for a slot now; of the ``copies``, new runs, those in ``created`` are there.
    """

    operation: BulkOperation
    moved: int = 0
    nudges: tuple[Nudge, ...] = ()
    lines: frozenset[str] = frozenset()
    copies: tuple[NewRun, ...] = ()
    created: Created = field(default_factory=Created)
