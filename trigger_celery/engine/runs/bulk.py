"""Carries out bulk operations: batch after batch, from whichever run the operation names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

from trigger_celery.body.context import current_run
from trigger_celery.body.waits import sleep
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues import admission
from trigger_celery.engine.runs import consequences
from trigger_celery.engine.runs.copies import copy_of
from trigger_celery.engine.runs.origins import encode_origin
from trigger_celery.engine.runs.trigger import of_creation
from trigger_celery.errors import RunCanceled, StoreUnavailable
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.bulk_changes import OWN
from trigger_celery.vocabulary.records import BulkBatch, BulkOperation, FromPerson, NewRun, Run

logger = logging.getLogger("trigger_celery.bulk")

TASK = OWN + "bulk"
"""The task whose runs carry out bulk operations."""
STRETCH = timedelta(seconds=10)
"""After so long a run suspends for a moment: others get its place in the pool, and a worker that
shuts down need not wait for the rest."""
SHORT = timedelta(seconds=1)
"""A longer pause between two batches is a wait, which holds nothing."""
WHY_LENGTH = 200


def carry_out(engine: Engine, operation_id: UUID) -> dict[str, int]:
    """Deal with the runs of an operation until none is left, or it is paused or aborted.

    The body of a run of ``TASK``. Each batch is one transaction that moves runs and the cursor of
    the operation, under the lock of its row: a worker that dies leaves no run half moved, and
    the next one goes on behind it. Returns how many batches and runs this run has dealt with since
    it was last resumed.
    """
    run = current_run()
    pauses = _past_pauses(engine, run.id)
    counted = {"batches": 0, "moved": 0}
    began = due = engine.clock.monotonic()
    while True:
        batch = _next(engine, operation_id, run.id)
        if batch is None:
            return counted
        counted["batches"] += 1
        counted["moved"] += batch.moved
        if batch.operation.state.is_over:
            return counted
        now = engine.clock.monotonic()
        interval = batch.operation.interval or timedelta(0)
        due = max(due, now) + batch.moved * interval.total_seconds()
        pause = timedelta(seconds=due - now)
        if pause > SHORT or now - began > STRETCH.total_seconds() or engine.draining():
            pauses += 1
            sleep(pause, key=f"pause {pauses}")
            began = engine.clock.monotonic()
        elif pause:
            engine.clock.sleep(pause.total_seconds())


def _past_pauses(engine: Engine, run_id: UUID) -> int:
    """Reach the pauses that are over again, as a replay has to; return how many there were.

    What is done between two of them depends on the row of the operation alone.
    """
    over = [call for call in engine.patient.managing.recorded_calls(run_id) if call.is_over]
    for number in range(len(over)):
        sleep(0, key=f"pause {number + 1}")
    return len(over)


def _next(engine: Engine, operation_id: UUID, run_id: UUID) -> BulkBatch | None:
    """Deal with the next batch; of one that fails, with as much as does not.

    A run that fails by itself is counted and passed over.
    """
    operation = engine.patient.bulk_operations.get(operation_id)
    if operation is None:
        return None
    limit = size_of(operation)
    while True:
        try:
            return _carry_out(engine, operation, run_id, limit)
        except StoreUnavailable:
            raise
        except Exception as error:
            logger.exception("bulk operation %s: a batch of %d runs failed", operation_id, limit)
            if limit == 1:
                why = f"{type(error).__name__}: {error}"[:WHY_LENGTH]
                pass_over = engine.patient.bulk_operations.pass_over
                after = pass_over(operation_id, run_id, why)
                return None if after is None else BulkBatch(operation=after)
            limit = max(1, limit // 8)


def size_of(operation: BulkOperation) -> int:
    """Return how many runs a batch has at most: with a rate, those of a second."""
    if not operation.interval:
        return operation.batch_size
    return max(1, min(operation.batch_size, timedelta(seconds=1) // operation.interval))


def _carry_out(
    engine: Engine, operation: BulkOperation, run_id: UUID, limit: int
) -> BulkBatch | None:
    why = operation.reason or f"canceled by the bulk operation {operation.id}"
    batch = engine.patient.bulk_operations.carry_out(
        operation.id,
        run_id,
        limit=limit,
        error=to_text(describe(RunCanceled(why))),
        copy=_copy_of(engine, operation),
    )
    if batch is not None:
        _announce(engine, batch)
    return batch


def _announce(engine: Engine, batch: BulkBatch) -> None:
    """Let workers know; what is lost by a crash before this, the sweep makes up for."""
    ended = [nudge for nudge in batch.nudges if batch.operation.kind == "cancel"]
    if ended:
        consequences.of_end(engine, ended)
    elif batch.nudges:
        engine.dispatcher.nudge(batch.nudges)
    for line in sorted(batch.lines):
        admission.admit(engine, line)
    if batch.copies:
        of_creation(engine, batch.copies, batch.created)


def _copy_of(engine: Engine, operation: BulkOperation) -> Callable[[Run], NewRun]:
    person = FromPerson(kind="rerun", by=operation.by, reason=operation.reason)
    return partial(copy_of, engine, origin=encode_origin(engine.codec, person))
