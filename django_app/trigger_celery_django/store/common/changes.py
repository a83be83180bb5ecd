"""Changes of a run that several verbs make, on a locked and not yet saved row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from trigger_celery.errors import RunCrashed
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.states import RunState, WaitState, check_transition
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models import DeadLetter
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import first_nudge, noted
from trigger_celery_django.store.common.times import DatabaseNow, read_now

T = TypeVar("T")

CHANGED = (
    "state",
    "error",
    "token",
    "worker",
    "attempt",
    "crashes",
    "attempts_after_fence",
    "available_at",
    "finished_at",
    "published_at",
    "due_at",
    "deadline_at",
    "paused_at",
)
"""All columns that the functions of this module, and the callers of theirs, may change."""

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

_LONGEST_PAUSE = timedelta(minutes=2)


def locked(guard: Guard, run_id: UUID, change: Callable[[models.Run | None, datetime], T]) -> T:
    """Call ``change`` with the locked row (None if there is none) and the time, and commit."""

    def work() -> T:
        rows = models.Run.objects.using(guard.alias).select_for_update()
        run = rows.filter(pk=run_id).first()
        # Read after the lock: time went on while this waited for it.
        return change(run, read_now(guard.connection))

    return guard.transaction(work)


def queue(run: models.Run, now: datetime, *, delay: timedelta = timedelta(0)) -> None:
    """Make the run claimable after ``delay``."""
    check_transition(RunState(run.state), RunState.QUEUED)
    run.state, run.worker = RunState.QUEUED, ""
    run.available_at = now + delay
    run.due_at = first_nudge(run.available_at, now)


def finish(run: models.Run, state: RunState, now: datetime, *, error: str | None) -> None:
    """End the run; whoever gets its nudge may publish the end."""
    check_transition(RunState(run.state), state)
    run.state, run.worker, run.error = state, "", error
    run.finished_at, run.published_at, run.due_at = now, None, now
    run.deadline_at = None


def crash(alias: str, run: models.Run, now: datetime) -> models.History:
    """Queue the run with one more crash, later each time, or fail it; return the history entry."""
    worker = run.worker
    run.crashes += 1
    told: dict[str, object] = {"crashes": run.crashes, "worker": worker}
    if run.crashes < run.max_crashes:
        seconds = 0 if run.crashes == 1 else 2 ** min(run.crashes, 10)
        queue(run, now, delay=min(timedelta(seconds=seconds), _LONGEST_PAUSE))
        return noted(run, "recover", **told)
    failure = describe(RunCrashed(f"its worker died {run.crashes} times while it executed the run"))
    finish(run, RunState.FAILED, now, error=to_text(failure))
    # Its nudge is published with this sweep: another one has time.
    run.due_at = now + config().nudge_interval
    cancel_waits(alias, run.pk)
    open_letter(alias, run.pk, failure.fingerprint)
    return noted(run, "fail", **told)


def nudge_pause(run: models.Run, now: datetime, nudge_interval: timedelta) -> timedelta:
    """Return how long to wait until the next nudge: about as long as it took so far.

    Rounded up to doublings of the interval, so that runs of a backlog share few values.
    """
    age = now - (run.finished_at or run.available_at)
    pause = nudge_interval
    while pause < min(age, _LONGEST_PAUSE):
        pause *= 2
    return max(nudge_interval, min(pause, _LONGEST_PAUSE))


def cancel_waits(alias: str, run_id: UUID) -> None:
    """End the open waits of a run that has ended."""
    models.Wait.objects.using(alias).filter(run=run_id).open().update(
        state=WaitState.CANCELED, resolved_at=DatabaseNow()
    )


def open_letter(alias: str, run_id: UUID, fingerprint: str) -> None:
    """Open the dead letter of a run that has failed; the caller holds the run's lock."""
    values = {
        "state": DeadLetter.State.OPEN,
        "fingerprint": fingerprint,
        "created_at": DatabaseNow(),
        "resolved_at": None,
    }
    letters = DeadLetter.objects.using(alias)
    if not letters.filter(run=run_id).update(**values):
        letters.create(run_id=run_id, **values)


def close_letter(alias: str, run_id: UUID) -> None:
    """Mark the open dead letter of a run that is tried again."""
    DeadLetter.objects.using(alias).filter(run=run_id).open().update(
        state=DeadLetter.State.RETRIED, resolved_at=DatabaseNow()
    )
