"""What time alone moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Due, Lease, Nudge
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.querysets import RunQuerySet
from trigger_celery_django.store.common import changes, deadlines
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import noted, nudge
from trigger_celery_django.store.common.run_columns import run_record
from trigger_celery_django.store.common.times import DatabaseNow, read_now


class DjangoSweeps:
    """Implements :class:`trigger_celery.ports.Sweeps`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        # Nearly always nothing is due: then one query is all, without a transaction.
        if not self._guard.statement(lambda _: self._due().exists()):
            return Due()
        return self._guard.transaction(lambda: self._move_on(limit, nudge_interval))

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        return deadlines.expire(self._guard, limit=limit)

    def _due(self) -> RunQuerySet[models.Run]:
        return models.Run.objects.using(self._alias).filter(due_at__lte=DatabaseNow())

    def _move_on(self, limit: int, nudge_interval: timedelta) -> Due:
        skip = self._guard.connection.features.has_select_for_update_skip_locked
        locked = self._due().select_for_update(skip_locked=skip)
        runs = list(locked.order_by("due_at")[:limit])
        now = read_now(self._guard.connection)
        runs = self._without_paused(runs)
        unlooked = self._unlooked([run for run in runs if run.state == RunState.SUSPENDED])
        for run in runs:
            if run.pk in unlooked:
                run.due_at = now + nudge_interval
        moved = [run for run in runs if run.pk not in unlooked]
        live = (RunState.SUSPENDED, RunState.EXECUTING)
        self._time_out([run for run in moved if run.state == RunState.SUSPENDED], now)
        self._nudge_again([run for run in moved if run.state not in live], now, nudge_interval)
        changed = [run for run in runs if run.state in live]
        entries = [self._move(run, now) for run in moved if run.state in live]
        models.Run.objects.using(self._alias).bulk_update(changed, changes.SWEPT, batch_size=100)
        models.History.objects.using(self._alias).bulk_create(entries)
        return Due(
            nudges=tuple(nudge(run) for run in moved),
            unlooked=tuple(
                Lease(run.pk, run.fence, run.token) for run in runs if run.pk in unlooked
            ),
            failed=tuple(nudge(run) for run in changed if run.state == RunState.FAILED),
        )

    def _without_paused(self, runs: Sequence[models.Run]) -> list[models.Run]:
        """Look no more at queued runs that a person holds: resuming makes them due again."""
        held = [run.pk for run in runs if run.paused_at and run.state == RunState.QUEUED]
        if held:
            models.Run.objects.using(self._alias).filter(pk__in=held).update(due_at=None)
        return [run for run in runs if run.pk not in held]

    def _unlooked(self, runs: Sequence[models.Run]) -> set[UUID]:
        """Return which of these suspended runs have event waits that no look was taken for."""
        if not runs:
            return set()
        waits = models.Wait.objects.using(self._alias).open().filter(run__in=runs, looked=False)
        return set(waits.values_list("run", flat=True))

    def _move(self, run: models.Run, now: datetime) -> models.History:
        if run.state == RunState.EXECUTING:
            return changes.crash(self._alias, run, now)
        after = lifecycle.queue(run_record(run), now, nudge_interval=config().nudge_interval)
        changes.apply(run, after)
        return noted(run, "wake")

    def _nudge_again(
        self, runs: Sequence[models.Run], now: datetime, nudge_interval: timedelta
    ) -> None:
        """Put off queued and unpublished runs: a backlog is many rows and few statements."""
        pauses: dict[timedelta, list[UUID]] = {}
        for run in runs:
            pause = lifecycle.nudge_pause(run_record(run), now, nudge_interval)
            pauses.setdefault(pause, []).append(run.pk)
        for pause, ids in pauses.items():
            # Without a worker an ended run is anybody's to publish, though it is not due.
            rows = models.Run.objects.using(self._alias).filter(pk__in=ids)
            rows.update(due_at=now + pause, worker="")

    def _time_out(self, runs: Sequence[models.Run], now: datetime) -> None:
        if runs:
            waits = models.Wait.objects.using(self._alias).open()
            waits.filter(run__in=runs, due_at__lte=now).update(
                state=WaitState.TIMEOUT, resolved_at=now
            )
