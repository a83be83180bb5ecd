"""Dead letters: one per run, opened again by a later failure."""

from __future__ import annotations

from uuid import UUID

from trigger_celery_django.models import DeadLetter
from trigger_celery_django.store.common.times import DatabaseNow


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
