"""Records of lists of runs: which ones are asked for, and what a list has of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from trigger_celery.vocabulary.records.runs import Run
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """What all runs of a list have in common; what is left empty is not asked.

    ``states`` and ``tasks`` name what is allowed, of ``tags`` a run has all. Runs were created
    at ``since`` or later and before ``until``. ``dead_letters`` asks for those that failed for
    good and wait for a person.
    """

    tasks: tuple[str, ...] = ()
    states: tuple[RunState, ...] = ()
    queue: str = ""
    tags: tuple[str, ...] = ()
    parent_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    dead_letters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """A run in a list: no input or output, which may be long; ``error`` is as it is stored."""

    id: UUID
    task: str
    state: RunState
    error: str | None
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
    parent_id: UUID | None
    copied_from_id: UUID | None


def listed(run: Run) -> ListedRun:
    """Return what a list has of a run."""
    spec = run.spec
    return ListedRun(
        id=spec.id,
        task=spec.task,
        state=run.state,
        error=run.error,
        attempt=run.attempt,
        crashes=run.crashes,
        worker=run.worker,
        created_at=run.created_at,
        available_at=run.available_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        deadline_at=run.deadline_at,
        paused_at=run.paused_at,
        tags=spec.tags,
        priority=spec.priority,
        queue=spec.queue,
        concurrency_key=spec.concurrency_key,
        parent_id=spec.parent_id,
        copied_from_id=spec.copied_from_id,
    )
