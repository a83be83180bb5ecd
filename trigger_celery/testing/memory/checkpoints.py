"""The checkpoints of the in-memory store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.testing.memory.rows import FailureRow, WaitRow
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import (
    Checkpoint,
    FailedAttempt,
    Holds,
    Lease,
    Outcome,
    Outcomes,
)


class MemoryCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all; joins the transaction of ``atomic()``."""
        with self._core.transactions.own(joins_step=True):
            if self._is_recorded(lease, checkpoint):
                return
            self._core.held(lease)

            def check() -> None:
                # A database would hold the run's row locked until this commit; here another
                # worker may take the run over meanwhile, which must lose the whole block.
                self._core.held(lease)

            def write() -> None:
                recorded = self._core.tables.checkpoints.setdefault(lease.run_id, {})
                recorded[checkpoint.key] = checkpoint

            if self._core.transactions.open:
                block = self._core.transactions.open[-1]
                block.checkpoints[lease.run_id, checkpoint.key] = checkpoint
                block.checks.append(check)
            self._core.transactions.write(write)

    def _is_recorded(self, lease: Lease, checkpoint: Checkpoint) -> bool:
        found = self._core.tables.checkpoints.get(lease.run_id, {}).get(checkpoint.key)
        for block in self._core.transactions.open:
            found = block.checkpoints.get((lease.run_id, checkpoint.key), found)
        if found is not None and found.token != checkpoint.token:
            raise LeaseLost(
                f"step {checkpoint.key!r} of run {lease.run_id} was recorded by another worker"
            )
        return found is not None

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt of a step, once for all."""
        with self._core.transactions.own():
            self._core.held(lease)
            self._core.add_failure(lease.run_id, failed)

    def keep_failures(self, lease: Lease, failures: Mapping[str, int]) -> None:
        """Let failed attempts hold always, named by step key and number of this life."""
        with self._core.transactions.own():
            self._core.held(lease)
            rows = self._core.tables.failures
            for index, row in enumerate(rows):
                named = failures.get(row.failed.key) == row.failed.number
                if row.run_id == lease.run_id and row.counted and named:
                    rows[index] = replace(row, failed=replace(row.failed, holds=Holds.ALWAYS))

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return what a segment of this attempt of the run replays, and the counts of failures."""
        with self._core.lock:
            steps = self._core.tables.checkpoints.get(run_id, {}).values()
            tries = [
                row for row in self._core.tables.failures if row.run_id == run_id and row.failed.key
            ]
            recorded = {
                row.failed.key: _failure(row.failed) for row in tries if _holds(row, run_attempt)
            }
            recorded |= {step.key: _step(step) for step in steps}
            recorded |= {row.wait.key: self._wait(row) for row in self._core.waits_of(run_id)}
            failures = Counter(row.failed.key for row in tries if row.counted)
            return Outcomes(recorded=recorded, failures=dict(failures))

    def _wait(self, row: WaitRow) -> Outcome:
        event = None if row.event is None else self._core.tables.events[row.event].event
        return Outcome(
            key=row.wait.key,
            kind=row.wait.kind,
            position=row.wait.position,
            value=row.value,
            wait=row.state,
            event=event,
        )


def _holds(row: FailureRow, run_attempt: int) -> bool:
    failed = row.failed
    if failed.holds is Holds.ATTEMPT:
        return row.counted and failed.run_attempt == run_attempt
    return failed.holds is Holds.ALWAYS or (failed.holds is Holds.LIFE and row.counted)


def _failure(failed: FailedAttempt) -> Outcome:
    return Outcome(
        key=failed.key,
        kind=failed.kind,
        position=failed.position,
        value=failed.raised,
        error=failed.error,
        holds=failed.holds,
    )


def _step(step: Checkpoint) -> Outcome:
    return Outcome(key=step.key, kind=step.kind, position=step.position, value=step.value)
