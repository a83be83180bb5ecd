"""Writing a transition: what it changed of a run's locked row, its waits, its dead letter."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from trigger_celery.values.failures import crashed
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import UNSUCCESSFUL, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models import DeadLetter
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
        after_forced_end(alias, row.pk, ended)
    verb = "recover" if ended is None else ended.verb
    return noted(row, verb, crashes=row.crashes, worker=worker)


def after_forced_end(alias: str, run_id: UUID, ended: lifecycle.ForcedEnd) -> None:
    """Write what follows from an end that no worker decided."""
    cancel_waits(alias, [run_id])
    if ended.state in UNSUCCESSFUL:
        open_dead_letter(alias, run_id, ended.fingerprint)


def cancel_waits(alias: str, run_ids: Collection[UUID]) -> None:
    """End the open waits of runs that have ended."""
    models.Wait.objects.using(alias).filter(run__in=run_ids).open().update(
        state=WaitState.CANCELED, resolved_at=DatabaseNow()
    )


def open_dead_letter(alias: str, run_id: UUID, fingerprint: str) -> None:
    """Open the dead letter of a run that has failed; the caller holds the run's lock."""
    values = {
        "state": DeadLetter.State.OPEN,
        "fingerprint": fingerprint,
        "created_at": DatabaseNow(),
        "resolved_at": None,
    }
    dead_letters = DeadLetter.objects.using(alias)
    if not dead_letters.filter(run=run_id).update(**values):
        dead_letters.create(run_id=run_id, **values)


def close_dead_letters(alias: str, run_ids: Collection[UUID]) -> None:
    """Mark the open dead letters of runs that are tried again."""
    DeadLetter.objects.using(alias).filter(run__in=run_ids).open().update(
        state=DeadLetter.State.RETRIED, resolved_at=DatabaseNow()
    )
