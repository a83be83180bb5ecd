"""Runs whose time is over: not started in time, or not done in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trigger_celery.values.failures import overdue
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models.querysets import RunQuerySet
from trigger_celery_django.store.common import changes, dead_letters
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, noted, nudge, read_now, run_record


def expire(guard: Guard, *, limit: int) -> Sequence[Nudge]:
    """End at most ``limit`` runs whose deadline has come; see :class:`ports.Sweeps`."""
    # Nearly always there is none: then one query is all, without a transaction.
    if not guard.statement(lambda _: _overdue(guard).exists()):
        return ()
    return guard.transaction(lambda: _expire(guard, limit))


def _overdue(guard: Guard) -> RunQuerySet[models.Run]:
    return models.Run.objects.using(guard.alias).filter(deadline_at__lte=DatabaseNow())


def _expire(guard: Guard, limit: int) -> Sequence[Nudge]:
    skip = guard.connection.features.has_select_for_update_skip_locked
    locked = _overdue(guard).select_for_update(skip_locked=skip)
    runs = list(locked.order_by("deadline_at")[:limit])
    now = read_now(guard.connection)
    entries = [_end(guard.alias, run, now) for run in runs]
    models.Wait.objects.using(guard.alias).open().filter(run__in=runs).update(
        state=WaitState.CANCELED, resolved_at=now
    )
    models.Run.objects.using(guard.alias).bulk_update(runs, changes.SWEPT, batch_size=100)
    models.History.objects.using(guard.alias).bulk_create(entries)
    return [nudge(run) for run in runs]


def _end(alias: str, run: models.Run, now: datetime) -> models.History:
    worker, before = run.worker, run_record(run)
    end = overdue(before)
    after = lifecycle.force_end(before, end, now, nudge_interval=config().nudge_interval)
    changes.apply(run, after)
    if end.state is RunState.TIMED_OUT:
        dead_letters.open_of(alias, after, end.cause)
    return noted(run, end.verb, **({"worker": worker} if worker else {}))
