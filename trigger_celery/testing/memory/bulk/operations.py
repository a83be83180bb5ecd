"""Bulk operations: what was asked for, and the batches in which it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from trigger_celery.testing.memory.runs import MemoryRuns, is_wanted, position
from trigger_celery.testing.memory.slots import Slots
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary import bulk_changes
from trigger_celery.vocabulary.records import (
    BulkBatch,
    BulkKind,
    BulkOperation,
    BulkState,
    Created,
    ListPosition,
    NewBulkOperation,
    NewRun,
    Nudge,
    PlannedRuns,
    Run,
    RunFilter,
    line_of,
)


@dataclass(slots=True)
class _Moved:
    """What a batch has moved so far."""

    operation: BulkOperation
    count: int = 0
    nudges: list[Nudge] = field(default_factory=list)
    lines: set[str] = field(default_factory=set)
    copies: list[NewRun] = field(default_factory=list)

    def skip(self, why: str) -> None:
        skipped = bulk_changes.with_more(self.operation.skipped, why)
        self.operation = replace(self.operation, skipped=skipped)

    def batch(self, created: Created) -> BulkBatch:
        return BulkBatch(
            operation=replace(self.operation, done=self.operation.done + self.count),
            moved=self.count,
            nudges=tuple(self.nudges),
            lines=frozenset(self.lines),
            copies=tuple(self.copies),
            created=created,
        )


class MemoryBulkOperations:
    """Implements :class:`trigger_celery.ports.BulkOperations`."""

    def __init__(self, core: Core, runs: MemoryRuns) -> None:
        self._core = core
        self._runs = runs
        self._slots = Slots(core)

    def plan(self, wanted: RunFilter, *, until: datetime) -> Sequence[PlannedRuns]:
        with self._core.lock:
            found = self._meant(wanted, until)
        planned = []
        for task in sorted({run.task for run in found}):
            times = [run.created_at for run in found if run.task == task]
            planned.append(
                PlannedRuns(task=task, count=len(times), oldest=min(times), newest=max(times))
            )
        return planned

    def create(self, new: NewBulkOperation) -> None:
        given = {each.name: getattr(new, each.name) for each in fields(new)}
        operation = BulkOperation(**given, created_at=self._core.now())
        operations = self._core.tables.bulk_operations
        with self._core.lock:
            self._core.transactions.write(lambda: operations.update({new.id: operation}))

    def get(self, operation_id: UUID) -> BulkOperation | None:
        with self._core.lock:
            return self._core.tables.bulk_operations.get(operation_id)

    def newest(self, *, states: Collection[BulkState] = (), limit: int) -> Sequence[BulkOperation]:
        with self._core.lock:
            newest = list(reversed(self._core.tables.bulk_operations.values()))
        return [each for each in newest if not states or each.state in states][:limit]

    def turn(
        self,
        operation_id: UUID,
        state: BulkState,
        *,
        among: Collection[BulkState],
        run_id: UUID | None = None,
    ) -> bool:
        operations = self._core.tables.bulk_operations
        with self._core.lock:
            before = operations.get(operation_id)
            if before is None or before.state not in among:
                return False
            after = replace(
                before,
                state=state,
                run_id=run_id or before.run_id,
                ended_at=self._core.now() if state.is_over else None,
            )
            self._core.transactions.write(lambda: operations.update({operation_id: after}))
            return True

    def carry_out(
        self,
        operation_id: UUID,
        run_id: UUID,
        *,
        limit: int,
        error: str,
        copy: Callable[[Run], NewRun],
    ) -> BulkBatch | None:
        with self._core.transactions.own():
            operation = self._running(operation_id, run_id)
            if operation is None:
                return None
            size = bulk_changes.size_of_batch(operation, limit)
            page = self._page(operation, size)
            moved = _Moved(operation)
            self._move(moved, page, error, copy)
            batch = moved.batch(self._runs.create(moved.copies))
            ended = bulk_changes.is_complete(batch.operation, is_last=len(page) < size)
            last = ListPosition(*position(page[-1])) if page else None
            now = self._core.now() if ended else None
            batch = bulk_changes.advanced(batch, last, ended_at=now)
            self._core.tables.bulk_operations[operation_id] = batch.operation
            return batch

    def pass_over(self, operation_id: UUID, run_id: UUID, why: str) -> BulkOperation | None:
        with self._core.transactions.own():
            operation = self._running(operation_id, run_id)
            if operation is None:
                return None
            page = self._page(operation, 1)
            last = ListPosition(*position(page[0])) if page else None
            after = bulk_changes.passed_over(operation, last, why)
            self._core.tables.bulk_operations[operation_id] = after
            return after

    def _move(
        self, moved: _Moved, page: Sequence[Run], error: str, copy: Callable[[Run], NewRun]
    ) -> None:
        """Work out all changes first: a copy that fails leaves no run changed."""
        now, patience = self._core.now(), self._core.nudge_interval
        pairs: list[tuple[Run, Run]] = []
        for before in page:
            after = bulk_changes.changed(
                moved.operation, before, now, nudge_interval=patience, error=error
            )
            if isinstance(after, str):
                moved.skip(after)
            elif moved.operation.kind is BulkKind.RERUN:
                moved.copies.append(copy(before))
                moved.count += 1
            else:
                pairs.append((before, after))
        for before, after in pairs:
            self._write(moved, before, after, now)
            moved.count += 1

    def _write(self, moved: _Moved, before: Run, after: Run, now: datetime) -> None:
        operation = moved.operation
        details: dict[str, Any] = bulk_changes.record_of(operation)
        if operation.kind is BulkKind.CANCEL:
            moved.nudges.append(self._core.finish(after, operation.kind, **details))
            return
        if operation.kind is BulkKind.RETRY:
            details |= self._runs.forget_the_end(before, details)
        starts = bulk_changes.may_start_now(before, after, now)
        limited = starts and self._slots.are_limited(after)
        self._core.move(after, operation.kind, **details)
        if limited:
            self._slots.put_in_line(after)
            moved.lines.add(line_of(after.spec.queue, after.task))
        elif starts:
            self._core.tables.slots.pop(after.id, None)
            self._core.lines.forget(after.id)
            moved.nudges.append(nudge(after))

    def _running(self, operation_id: UUID, run_id: UUID) -> BulkOperation | None:
        operation = self._core.tables.bulk_operations.get(operation_id)
        if operation is None or operation.run_id != run_id:
            return None
        return operation if operation.state is BulkState.RUNNING else None

    def _page(self, operation: BulkOperation, size: int) -> Sequence[Run]:
        runs = self._meant(operation.wanted, operation.until)
        after = operation.cursor
        if after is not None:
            runs = [run for run in runs if position(run) < (after.created_at, after.id)]
        return sorted(runs, key=position, reverse=True)[:size]

    def _meant(self, wanted: RunFilter, until: datetime) -> Sequence[Run]:
        dead_letters = self._core.tables.dead_letters
        return [
            row.run
            for row in self._core.tables.runs.values()
            if is_wanted(row.run, wanted, dead_letters.get(row.run.id))
            and row.run.created_at <= until
            and (row.run.finished_at is None or row.run.finished_at <= until)
            and not row.run.task.startswith(bulk_changes.OWN)
        ]
