"""What a bulk operation makes of one run: a pure function that every store calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    BULK_STATES,
    BulkBatch,
    BulkKind,
    BulkOperation,
    BulkState,
    ListPosition,
    Run,
)
from trigger_celery.vocabulary.states import RunState

GONE = "is not there any more"
"""Why a run was skipped that was deleted meanwhile."""
CHANGED = "is no longer what was asked for"
"""Why runs were skipped that left the filter after the plan was made."""

OWN = "trigger_celery."
"""With this begin the names of tasks of this library, whose runs no bulk operation touches."""


def changed(
    operation: BulkOperation, run: Run, now: datetime, *, nudge_interval: timedelta, error: str
) -> Run | str:
    """Return the run as the operation leaves it, or why it is skipped.

    The run of a rerun is its source, which stays as it is. ``error`` is that of a canceled run.
    """
    kind = operation.kind
    if run.state not in (operation.wanted.states or BULK_STATES[kind]):
        return f"is {run.state}"
    match kind:
        case BulkKind.RETRY:
            return lifecycle.retry(run, now, nudge_interval=nudge_interval)
        case BulkKind.CANCEL:
            return lifecycle.cancel(run, now, error=error, nudged_within=nudge_interval)
        case BulkKind.PAUSE:
            return "is paused already" if run.paused_at else lifecycle.pause(run, now)
        case BulkKind.RESUME if run.paused_at is None:
            return "is not paused"
        case BulkKind.RESUME:
            return lifecycle.resume(run, now, nudge_interval=nudge_interval)
        case BulkKind.PRIORITIZE | BulkKind.MOVE:
            return _with_spec(operation, run, now, nudge_interval)
    return run


def _with_spec(
    operation: BulkOperation, run: Run, now: datetime, nudge_interval: timedelta
) -> Run | str:
    """Return the run with another priority or queue; one in line joins a line anew."""
    spec = run.spec
    if operation.kind is BulkKind.PRIORITIZE and operation.priority is not None:
        spec = replace(spec, priority=operation.priority)
    elif operation.to_queue is not None:
        spec = replace(spec, queue=operation.to_queue)
    if spec == run.spec:
        return "is so already"
    due_at = run.due_at
    if stands_in_line(run):
        due_at = lifecycle.first_nudge(run.available_at, now, nudge_interval)
    line_at = lifecycle.line_at(run.available_at, spec.priority)
    return replace(run, spec=spec, line_at=line_at, due_at=due_at)


def stands_in_line(run: Run) -> bool:
    """Whether a queued run waits for its admission alone."""
    return run.state is RunState.QUEUED and run.due_at is None and run.paused_at is None


def may_start_now(before: Run, after: Run, now: datetime) -> bool:
    """Whether this change lets a run start: it joins a line, or it is nudged."""
    if after.state is not RunState.QUEUED or after.paused_at is not None:
        return False
    released = before.state is not after.state or before.paused_at is not None
    return after.available_at <= now and (released or stands_in_line(before))


def record_of(operation: BulkOperation) -> dict[str, str]:
    """Return what the history of each of its runs keeps of an operation."""
    given = {"by": operation.by, "reason": operation.reason, "bulk": str(operation.id)}
    return {name: text for name, text in given.items() if text}


def with_more(counts: Mapping[str, int], why: str, number: int = 1) -> dict[str, int]:
    """Return the counts with so many more of one kind."""
    return {**counts, why: counts.get(why, 0) + number} if number else dict(counts)


def size_of_batch(operation: BulkOperation, limit: int) -> int:
    """Return how many runs the next batch deals with at most."""
    size = min(limit, operation.batch_size)
    return size if operation.at_most is None else min(size, operation.at_most - operation.seen)


def is_complete(operation: BulkOperation, *, is_last: bool) -> bool:
    """Whether a batch was the last: no run is behind it, or no more are meant."""
    return is_last or (operation.at_most is not None and operation.seen >= operation.at_most)


def advanced(
    batch: BulkBatch, last: ListPosition | None, *, ended_at: datetime | None
) -> BulkBatch:
    """Return a batch whose operation goes on behind ``last``, or is complete at ``ended_at``."""
    after = replace(batch.operation, cursor=last or batch.operation.cursor)
    if ended_at is not None:
        left = max(0, after.planned - after.seen)
        skipped = with_more(after.skipped, CHANGED, left)
        state = BulkState.COMPLETED
        after = replace(after, state=state, ended_at=ended_at, skipped=skipped)
    return replace(batch, operation=after)


def passed_over(operation: BulkOperation, last: ListPosition | None, why: str) -> BulkOperation:
    """Return an operation that goes on behind ``last``, a run that failed, if there is one."""
    if last is None:
        return operation
    return replace(operation, cursor=last, failed=with_more(operation.failed, why))
