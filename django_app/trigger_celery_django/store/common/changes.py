"""Writing a transition: what it changed of a run's locked row, and of its waits."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from trigger_celery.values.failures import crashed
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common import dead_letters
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import (
    STATE_COLUMNS,
    DatabaseNow,
    noted,
    read_now,
    run_record,
)

T = TypeVar("T")

SWEPT = (
    "state",
    "error",
    "worker",
    "crashes",
    "available_at",
    "finished_at",
    "published_at",
    "due_at",
    "deadline_at",
)
"""The columns that a sweep may change."""


def locked(guard: Guard, run_id: UUID, change: Callable[[models.Run | None, datetime], T]) -> T:
    """Call ``change`` with the locked row (None if there is none) and the time, and commit."""

    def work() -> T:
        rows = models.Run.objects.using(guard.alias).select_for_update()
        run = rows.filter(pk=run_id).first()
        # Read after the lock: time went on while this waited for it.
        return change(run, read_now(guard.connection))

    return guard.transaction(work)


def apply(row: models.Run, after: Run) -> list[str]:
    """Bring an unsaved row to where its run is after a transition; return what changed."""
    changed = [name for name in STATE_COLUMNS if getattr(row, name) != getattr(after, name)]
    for name in changed:
        setattr(row, name, getattr(after, name))
    return changed


def save(alias: str, row: models.Run, after: Run, *others: str) -> None:
    """Write a transition, and these other columns that were set, to the locked row."""
    row.save(using=alias, force_update=True, update_fields=[*apply(row, after), *others])


def crash(alias: str, row: models.Run, now: datetime) -> models.History:
    """Apply the loss of its worker to an unsaved row; return the history entry."""
    worker = row.worker
    after, ended = lifecycle.crash(
        run_record(row), now, nudge_interval=config().nudge_interval, give_up=crashed
    )
    apply(row, after)
    if ended is not None:
        cancel_waits(alias, [row.pk])
        dead_letters.open_of(alias, after, ended.cause)
    verb = "recover" if ended is None else ended.verb
    return noted(row, verb, crashes=row.crashes, worker=worker)


def cancel_waits(alias: str, run_ids: Collection[UUID]) -> None:
    """End the open waits of runs that have ended."""
    models.Wait.objects.using(alias).filter(run__in=run_ids).open().update(
        state=WaitState.CANCELED, resolved_at=DatabaseNow()
    )
