"""Bulk operations: what was asked for, and the batches in which it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Exists, Max, Min, Q, QuerySet

from trigger_celery.vocabulary import bulk_changes
from trigger_celery.vocabulary.records import (
    BulkBatch,
    BulkOperation,
    BulkState,
    ListPosition,
    NewBulkOperation,
    NewRun,
    PlannedRuns,
    Run,
    RunFilter,
)
from trigger_celery_django import models
from trigger_celery_django.store.bulk.batches import Batches
from trigger_celery_django.store.bulk.rows import operation_of, progress_columns, row_of
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, read_now
from trigger_celery_django.store.runs import DjangoRuns


class DjangoBulkOperations:
    """Implements :class:`trigger_celery.ports.BulkOperations`."""

    def __init__(self, guard: Guard, runs: DjangoRuns) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._batches = Batches(guard, runs)

    def plan(self, wanted: RunFilter, *, until: datetime) -> Sequence[PlannedRuns]:
        by_task = (
            self._meant(wanted, until)
            .order_by("task")
            .values_list("task")
            .annotate(Count("pk"), Min("created_at"), Max("created_at"))
        )
        return [
            PlannedRuns(task=task, count=count, oldest=oldest, newest=newest)
            for task, count, oldest, newest in self._guard.read(lambda: list(by_task))
        ]

    def create(self, new: NewBulkOperation) -> None:
        row = row_of(new)
        row.created_at = DatabaseNow()
        rows = self._rows()
        self._guard.joining(lambda: rows.bulk_create([row], ignore_conflicts=True))

    def get(self, operation_id: UUID) -> BulkOperation | None:
        row = self._guard.read(self._rows().filter(pk=operation_id).first)
        return None if row is None else operation_of(row)

    def newest(self, *, states: Collection[BulkState] = (), limit: int) -> Sequence[BulkOperation]:
        rows = self._rows().order_by("-created_at", "-pk")
        if states:
            rows = rows.filter(state__in=states)
        return [operation_of(row) for row in self._guard.read(lambda: list(rows[:limit]))]

    def turn(
        self,
        operation_id: UUID,
        state: BulkState,
        *,
        among: Collection[BulkState],
        run_id: UUID | None = None,
    ) -> bool:
        changes: dict[str, object] = {"state": state}
        if run_id is not None:
            changes["run_id"] = run_id
        if state.is_over:
            changes["ended_at"] = DatabaseNow()
        found = self._rows().filter(pk=operation_id, state__in=among)
        return bool(self._guard.joining(lambda: found.update(**changes)))

    def carry_out(
        self,
        operation_id: UUID,
        run_id: UUID,
        *,
        limit: int,
        error: str,
        copy: Callable[[Run], NewRun],
    ) -> BulkBatch | None:
        def work() -> BulkBatch | None:
            found = self._locked(operation_id, run_id)
            if found is None:
                return None
            operation, limited = found
            size = bulk_changes.size_of_batch(operation, limit)
            page = self._page(operation, size)
            batch = self._batches.move(
                operation,
                [place.id for place in page],
                limited=limited,
                error=error,
                copy=copy,
            )
            return self._advance(batch, page[-1] if page else None, is_last=len(page) < size)

        return self._guard.transaction(work)

    def pass_over(self, operation_id: UUID, run_id: UUID, why: str) -> BulkOperation | None:
        def work() -> BulkOperation | None:
            found = self._locked(operation_id, run_id)
            if found is None:
                return None
            operation, _ = found
            page = self._page(operation, 1)
            after = bulk_changes.passed_over(operation, page[0] if page else None, why)
            self._save(after)
            return after

        return self._guard.transaction(work)

    def _advance(self, batch: BulkBatch, last: ListPosition | None, *, is_last: bool) -> BulkBatch:
        # The time is asked for once: at the end.
        ended = bulk_changes.is_complete(batch.operation, is_last=is_last)
        now = read_now(self._guard.connection) if ended else None
        after = bulk_changes.advanced(batch, last, ended_at=now)
        self._save(after.operation)
        return after

    def _save(self, after: BulkOperation) -> None:
        self._rows().filter(pk=after.id).update(**progress_columns(after))

    def _locked(self, operation_id: UUID, run_id: UUID) -> tuple[BulkOperation, bool] | None:
        """Lock an operation that this run carries out: its batches come one after another.

        Returned with whether any durable queue is limited.
        """
        limited = models.DurableQueue.objects.using(self._alias).filter(limited=True)
        mine = self._rows().filter(pk=operation_id, run=run_id, state=BulkState.RUNNING)
        for row in mine.select_for_update().annotate(limits_hold=Exists(limited)):
            return operation_of(row), row.limits_hold
        return None

    def _page(self, operation: BulkOperation, size: int) -> list[ListPosition]:
        runs = self._meant(operation.wanted, operation.until, operation.cursor)
        return [ListPosition(*place) for place in runs.values_list("created_at", "pk")[:size]]

    def _meant(
        self, wanted: RunFilter, until: datetime, after: ListPosition | None = None
    ) -> QuerySet[models.Run]:
        known = Q(created_at__lte=until) & (Q(finished_at=None) | Q(finished_at__lte=until))
        runs = models.Run.objects.using(self._alias).wanted(wanted).newest_first(after)
        return runs.filter(known).exclude(task__startswith=bulk_changes.OWN)

    def _rows(self) -> QuerySet[models.BulkOperation]:
        return models.BulkOperation.objects.using(self._alias)
