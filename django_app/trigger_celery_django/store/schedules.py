"""When tasks are to be started again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import QuerySet

from trigger_celery.ports.schedules import Decide
from trigger_celery.vocabulary.records import Created, Overlap, Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard, in_transaction
from trigger_celery_django.store.common.rows import DatabaseNow, check_length, read_now
from trigger_celery_django.store.runs import DjangoRuns

T = TypeVar("T")

CHANGED = (
    "task",
    "declared",
    "cron",
    "every",
    "timezone",
    "input",
    "overlap",
    "catch_up",
    "next_at",
    "last_at",
    "last_run_id",
    "buffered_at",
    "paused_at",
    "due_at",
)
"""The columns that a change may change: all fields of the record but id and key."""


class DjangoSchedules:
    """Implements :class:`trigger_celery.ports.Schedules`."""

    def __init__(self, guard: Guard, runs: DjangoRuns) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._runs = runs

    def add(self, schedule: Schedule) -> bool:
        check_length("task", schedule.task)
        check_length("schedule key", schedule.key)
        columns = _columns(schedule)
        moment = DatabaseNow()

        def insert() -> bool:
            known = self._rows(schedule.key).values_list("pk", flat=True).first()
            if known is not None:
                return bool(known == schedule.id)  # this call's own, if its answer was lost
            row = models.Schedule(
                id=schedule.id,
                key=schedule.key,
                created_at=moment,
                updated_at=moment,
                **columns,
            )
            # Another process may have been faster: then its row stays, and this one is nowhere.
            models.Schedule.objects.using(self._alias).bulk_create([row], ignore_conflicts=True)
            return self._rows(schedule.key).filter(pk=schedule.id).exists()

        return self._write(insert)

    def get(self, key: str) -> Schedule | None:
        row = self._guard.read(self._rows(key).first)
        return None if row is None else _record(row)

    def all(self) -> Sequence[Schedule]:
        rows = models.Schedule.objects.using(self._alias).order_by("key")
        found = [_record(row) for row in self._guard.read(lambda: list(rows))]
        return sorted(found, key=lambda schedule: schedule.key)

    def change(self, key: str, decide: Decide) -> ScheduleChange | None:
        def work() -> ScheduleChange | None:
            row = self._rows(key).select_for_update().first()
            if row is None:
                return None
            # Read after the lock: time went on while this waited for it.
            now = read_now(self._guard.connection)
            change = decide(_record(row), self._state(row.last_run_id), now)
            return None if change is None else self._make(change, now)

        return self._write(work)

    def remove(self, key: str) -> bool:
        deleted = self._write(lambda: self._rows(key).delete())
        return deleted[0] > 0

    def due(self, *, limit: int) -> Sequence[Schedule]:
        rows = models.Schedule.objects.using(self._alias).filter(due_at__lte=DatabaseNow())
        found = self._guard.statement(lambda _: list(rows.order_by("due_at")[:limit]))
        return [_record(row) for row in found]

    def _rows(self, key: str) -> QuerySet[models.Schedule]:
        return models.Schedule.objects.using(self._alias).filter(key=key)

    def _state(self, run_id: UUID | None) -> RunState | None:
        if run_id is None:
            return None
        states = models.Run.objects.using(self._alias).filter(pk=run_id)
        state = states.values_list("state", flat=True).first()
        return None if state is None else RunState(state)

    def _make(self, change: ScheduleChange, now: datetime) -> ScheduleChange:
        created = self._runs.create(change.runs) if change.runs else Created()
        columns = _columns(change.schedule)
        self._rows(change.schedule.key).update(updated_at=now, **columns)
        new = tuple(run for run in change.runs if run.id in created)
        return replace(change, runs=new, lines=created.lines)

    def _write(self, work: Callable[[], T]) -> T:
        """Do the work in the caller's transaction, or in one of its own."""
        if in_transaction(self._guard.connection):
            return self._guard.joining(work)
        return self._guard.transaction(work)


def _columns(schedule: Schedule) -> dict[str, Any]:
    return {column: getattr(schedule, column) for column in CHANGED}


def _record(row: models.Schedule) -> Schedule:
    return Schedule(
        **{
            "id": row.pk,
            "key": row.key,
            **{column: getattr(row, column) for column in CHANGED},
            "overlap": Overlap(row.overlap),
        }
    )
