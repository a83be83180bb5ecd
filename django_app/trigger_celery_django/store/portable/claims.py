"""Claims on MariaDB, MySQL and SQLite, and on PostgreSQL without psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    When,
)
from django.db.models.functions import Coalesce

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Claim, Claimed, Lease
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models.querysets import RunQuerySet
from trigger_celery_django.store.common import changes
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, aware, noted, run_record
from trigger_celery_django.store.queues import slots


def claim(guard: Guard, asked: Claim) -> Claimed | None:
    """Own the run with the next fence, or None."""
    claimed, names = guard.transaction(lambda: _claim(guard.alias, asked))
    if not names:
        return claimed
    # Not in the same transaction: its snapshot may be older than the locks that come now, and
    # it may hold what the holders of these locks wait for.
    return guard.transaction(lambda: _claim_slot(guard.alias, asked, names))


def _claim(alias: str, asked: Claim) -> tuple[Claimed | None, Sequence[str]]:
    """Claim the run, or return the names of the queues that may limit it."""
    verb = _own(alias, asked)
    slot = models.Slot.objects.using(alias).filter(run=OuterRef("pk"), fence=OuterRef("fence"))
    found = _run(alias, asked).annotate(holds=Exists(slot), limited=_limited(alias, asked)).first()
    if found is None:
        return None, ()
    if not _is_owned(found, asked):
        waits = found.state == RunState.QUEUED and found.paused_at is None and found.limited
        return None, slots.standing_of(found).gates if waits else ()
    if verb is not None:
        noted(found, verb).save(using=alias, force_insert=True)
    names = slots.standing_of(found).gates if found.holds else ()
    return _claimed(found, asked, sorted(slots.limited_among(alias, names)) if names else ()), ()


def _own(alias: str, asked: Claim) -> str | None:
    now = DatabaseNow()
    owned = {
        "fence": F("fence") + 1,
        "worker": asked.worker,
        "token": asked.token,
        "lease_length": asked.length,
        "due_at": now + asked.length,
    }
    free = _claimable(alias, asked).filter(~_limited(alias, asked))
    # MySQL assigns from left to right: the deadline asks whether the run was started before.
    if free.update(
        state=RunState.EXECUTING,
        version=asked.version,
        deadline_at=_deadline(),
        started_at=Coalesce("started_at", now),
        **owned,
    ):
        return "claim"
    unowned = Q(worker="") | Q(due_at__lte=now)
    ended = _run(alias, asked).unpublished().filter(unowned)
    return "publish" if ended.update(**owned) else None


def _claim_slot(alias: str, asked: Claim, names: Sequence[str]) -> Claimed | None:
    """Claim the run with a slot, or put it in line."""
    gates = slots.lock_gates(alias, names)
    locked = _claimable(alias, asked).select_for_update()
    run = locked.annotate(read_at=DatabaseNow()).first()
    if run is None:
        return None
    standing, now = slots.standing_of(run), aware(run.read_at)
    since, limited = now - config().nudge_interval, [gate.name for gate in gates]
    counts = slots.counts_of(alias, limited, since, without=run.pk) if gates else {}
    room = slots.room(alias, gates, now, counts, line=standing.queue, keys=[standing.key])
    if not room.take(standing):
        slots.stand_in_line(alias, run)
        return None
    run.token, run.lease_length = asked.token, asked.length
    after = lifecycle.claim(run_record(run), asked, now)
    changes.save(alias, run, after, "token", "lease_length")
    if gates:
        slots.take_slot(alias, run)
        slots.save_due(alias, room)
    noted(run, "claim").save(using=alias, force_insert=True)
    return _claimed(run, asked, sorted(gate.name for gate in gates))


def _run(alias: str, asked: Claim) -> RunQuerySet[models.Run]:
    runs = models.Run.objects.using(alias)
    return runs.filter(pk=asked.run_id, task=asked.task)


def _claimable(alias: str, asked: Claim) -> RunQuerySet[models.Run]:
    now = DatabaseNow()
    alive = Q(deadline_at=None) | Q(deadline_at__gt=now)
    # A run without a delay, which is due after its start, compares no clock.
    at_once = Q(due_at=None) | Q(due_at__gt=F("available_at"))
    available = at_once | Q(available_at__lte=now)
    return _run(alias, asked).filter(available, alive, state=RunState.QUEUED, paused_at=None)


def _limited(alias: str, asked: Claim) -> Exists:
    """Whether limits hold for the run; its line is the task's own where it has no queue."""
    names = [EVERYTHING, OF_TASK + asked.task, OuterRef("queue")]
    return Exists(models.DurableQueue.objects.using(alias).filter(name__in=names, limited=True))


def _is_owned(run: models.Run, asked: Claim) -> bool:
    """Whether this claim was granted, now or when it was asked before."""
    state = RunState(run.state)
    owed = state is RunState.EXECUTING or (state.terminal and run.published_at is None)
    return owed and run.token == asked.token


def _claimed(row: models.Run, asked: Claim, limited: Sequence[str]) -> Claimed:
    assert row.due_at is not None, "it was set with the claim"
    run = run_record(row)
    return Claimed(
        run=run,
        lease=Lease(run.id, run.fence, asked.token),
        now=row.due_at - row.lease_length,
        publishing=run.state.terminal,
        replayed=run.fence > 1,
        limited=tuple(limited),
    )


def _deadline() -> Case:
    """Return when a run that is claimed now times out: its time to live ends with its start."""
    started = Q(started_at=None) | Q(deadline_at=None)
    limit = ExpressionWrapper(DatabaseNow() + F("max_duration"), DateTimeField())
    return Case(When(started, then=limit), default=F("deadline_at"))
