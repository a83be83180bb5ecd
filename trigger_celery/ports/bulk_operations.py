"""Bulk operations: one act of a person on many runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records.bulk import (
    BulkBatch,
    BulkOperation,
    BulkState,
    NewBulkOperation,
    PlannedRuns,
)
from trigger_celery.vocabulary.records.runs import NewRun, Run, RunFilter


class BulkOperations(Protocol):
    """Bulk operations, and the batches in which they are carried out."""

    def plan(self, wanted: RunFilter, *, until: datetime) -> Sequence[PlannedRuns]:
        """Count the runs that were created and, if they have ended, ended by ``until``, by task.

        Those of our own tasks are left out, here and in :meth:`carry_out`.
        """

    def create(self, new: NewBulkOperation) -> None:
        """Store an operation *in the caller's transaction*, once."""

    def get(self, operation_id: UUID) -> BulkOperation | None:
        """Return the operation, or None."""

    def newest(self, *, states: Collection[BulkState] = (), limit: int) -> Sequence[BulkOperation]:
        """Return the operations in one of these states, in any without, the newest first."""

    def turn(
        self,
        operation_id: UUID,
        state: BulkState,
        *,
        among: Collection[BulkState],
        run_id: UUID | None = None,
    ) -> bool:
        """Give an operation that is ``among`` these states another one; False if it is not.

        *In the caller's transaction.* From then on the run ``run_id`` carries it out, if given.
        Waits for a batch that is under way.
        """

    def carry_out(
        self,
        operation_id: UUID,
        run_id: UUID,
        *,
        limit: int,
        error: str,
        copy: Callable[[Run], NewRun],
    ) -> BulkBatch | None:
        """Deal with the next ``limit`` runs, and move the cursor behind them, in one transaction.

        None if the operation is not running, or another run than ``run_id`` carries it out. A run
        that changed meanwhile is skipped. A retried or resumed run of a limited queue stands in
        line, as one that is created. The last batch completes the operation. ``error`` is stored
        with runs that it cancels, ``copy`` returns the rerun of a run.
        """

    def pass_over(self, operation_id: UUID, run_id: UUID, why: str) -> BulkOperation | None:
        """Count the next run as failed, and move the cursor behind it; None as for carrying out."""
