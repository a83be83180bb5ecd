"""What the transitions of a run write of its dead letter, whose group counts it later."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from django.db.models import F

from trigger_celery.vocabulary.records import Cause, Run
from trigger_celery.vocabulary.states import DeadLetterState
from trigger_celery_django.models import DeadLetter
from trigger_celery_django.store.common.rows import DatabaseNow


def open_of(alias: str, run: Run, cause: Cause) -> None:
    """Open the dead letter of a run that has failed; the caller holds the run's lock."""
    now = DatabaseNow()
    values = {
        "task": run.task,
        "queue": run.spec.queue,
        "state": DeadLetterState.OPEN,
        **cause_columns(cause),
        "error": run.error or "",
        "attempts": run.attempt,
        "crashes": run.crashes,
        "last_seen_at": now,
        "settled_at": None,
        "by": "",
        "reason": "",
        "tallied": False,
    }
    rows = DeadLetter.objects.using(alias)
    if not rows.filter(run=run.id).update(**values, returns=F("returns") + 1):
        rows.create(run_id=run.id, first_seen_at=now, **values)


def cause_columns(cause: Cause) -> dict[str, str]:
    """Return the columns of what a list shows of a failure."""
    return {
        "fingerprint": cause.fingerprint,
        "kind": cause.kind,
        "message": cause.message,
        "step": cause.step,
        "place": cause.place,
    }


def settle(
    alias: str,
    run_ids: Collection[UUID],
    state: DeadLetterState,
    details: Mapping[str, str] | None = None,
) -> None:
    """Note that the dead letters of runs do not wait for a person any more."""
    DeadLetter.objects.using(alias).filter(run__in=run_ids).update(**settled(state, details))


def settled(state: DeadLetterState, details: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return the columns of a dead letter that a person has dealt with."""
    by, reason = ((details or {}).get(name, "") for name in ("by", "reason"))
    return {
        "state": state,
        "settled_at": DatabaseNow(),
        "by": by,
        "reason": reason,
        "tallied": False,
    }


def resolve(alias: str, run_ids: Collection[UUID]) -> None:
    """Resolve those dead letters of these runs that were retried."""
    if run_ids:
        retried = DeadLetter.objects.using(alias).filter(
            run__in=run_ids, state=DeadLetterState.RETRIED
        )
        retried.update(state=DeadLetterState.RESOLVED, settled_at=DatabaseNow(), tallied=False)
