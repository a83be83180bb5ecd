"""What time alone moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    AHEAD,
    Due,
    Elected,
    Lease,
    Nudge,
    RecentClaim,
    Unclaimed,
)
from trigger_celery.vocabulary.states import TERMINAL, RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.models.querysets import RunQuerySet
from trigger_celery_django.store.common import changes, deadlines
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, noted, nudge, read_now, run_record

TIMERS = Q(state=RunState.SUSPENDED.value)
STARTS = Q(state=RunState.QUEUED.value, due_at__lte=F("available_at"))
LEASES = Q(state=RunState.EXECUTING.value)
ENDS = Q(state__in=sorted(TERMINAL))
KINDS = (TIMERS, STARTS, LEASES, ENDS)
"""The kinds of runs that are due, in the order in which a pass moves them."""

WOKEN = ("state", "worker", "available_at", "due_at")
"""The columns that change when the time of a suspended run has come."""


class DjangoSweeps:
    """Implements :class:`trigger_celery.ports.Sweeps`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        # Nearly always nothing is due: then one query is all, without a transaction.
        kinds = self._guard.statement(self._kinds_due)
        found = [
            self._guard.transaction(partial(self._move_on, kind, limit, nudge_interval))
            for kind in kinds
        ]
        return Due(
            nudges=tuple(nudge for due in found for nudge in due.nudges),
            unlooked=tuple(lease for due in found for lease in due.unlooked),
            failed=tuple(nudge for due in found for nudge in due.failed),
        )

    def unclaimed(self, *, after: str, limit: int) -> Sequence[Unclaimed]:
        return self._guard.read(lambda: self._unclaimed(after, limit))

    def recent_claims(self, *, within: timedelta, limit: int) -> Sequence[RecentClaim]:
        return self._guard.read(lambda: self._recent_claims(within, limit))

    def nudge_again(
        self, run_ids: Collection[UUID], *, nudge_interval: timedelta
    ) -> Sequence[Nudge]:
        def work() -> Sequence[Nudge]:
            overdue = self._overdue_nudges().filter(pk__in=run_ids)
            runs = self._without_paused(self._locked(overdue))
            self._nudge_again_later(runs, read_now(self._guard.connection), nudge_interval)
            return [nudge(run) for run in runs]

        return self._guard.transaction(work)

    def elect(self, sweeper: str, *, length: timedelta) -> Elected:
        return self._guard.statement(lambda _: self._elect(sweeper, length))

    def resign(self, sweeper: str) -> None:
        mine = models.SweepTurn.objects.using(self._alias).filter(sweeper=sweeper)
        self._guard.statement(lambda _: mine.update(until_at=DatabaseNow()))

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        return deadlines.expire(self._guard, limit=limit)

    def _elect(self, sweeper: str, length: timedelta) -> Elected:
        """Look first: of many that ask, nearly all only learn whose turn it is."""
        turns = models.SweepTurn.objects.using(self._alias).filter(pk=models.SweepTurn.ONLY)
        while True:
            found = turns.values_list("sweeper", "until_at", DatabaseNow()).first()
            if found is None:
                first = models.SweepTurn(until_at=DatabaseNow())
                turns.bulk_create([first], ignore_conflicts=True)
                continue
            other, until_at, now = found
            latest = now + AHEAD * length
            if other != sweeper and now < until_at <= latest:
                return Elected(sweeper=other, lasts=until_at - now)
            free = turns.filter(Q(sweeper=sweeper) | Q(until_at__lte=now) | Q(until_at__gt=latest))
            if free.update(sweeper=sweeper, until_at=now + length):
                return Elected(sweeper=sweeper, lasts=length)

    def _due(self) -> RunQuerySet[models.Run]:
        return models.Run.objects.using(self._alias).filter(due_at__lte=DatabaseNow())

    def _overdue_nudges(self) -> RunQuerySet[models.Run]:
        return self._due().filter(state=RunState.QUEUED.value, due_at__gt=F("available_at"))

    def _kinds_due(self, connection: BaseDatabaseWrapper) -> list[Q]:
        """Return of which kinds any run is due, by one statement that probes an index for each."""
        rows = [self._due().filter(kind).values("pk")[:1] for kind in KINDS]
        probes = [row.query.get_compiler(connection=connection).as_sql() for row in rows]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT " + ", ".join(f"EXISTS ({sql})" for sql, _ in probes),
                [parameter for _, parameters in probes for parameter in parameters],
            )
            found = cursor.fetchone()
        return [kind for kind, is_due in zip(KINDS, found, strict=True) if is_due]

    def _locked(self, rows: RunQuerySet[models.Run]) -> list[models.Run]:
        skip = self._guard.connection.features.has_select_for_update_skip_locked
        return list(rows.select_for_update(skip_locked=skip))

    def _move_on(self, kind: Q, limit: int, nudge_interval: timedelta) -> Due:
        runs = self._locked(self._due().filter(kind).order_by("due_at")[:limit])
        now = read_now(self._guard.connection)
        if kind == TIMERS:
            return self._wake(runs, now, nudge_interval)
        if kind == LEASES:
            return self._crash(runs, now)
        runs = self._without_paused(runs)
        self._nudge_again_later(runs, now, nudge_interval)
        return Due(nudges=tuple(nudge(run) for run in runs))

    def _wake(self, runs: Sequence[models.Run], now: datetime, nudge_interval: timedelta) -> Due:
        """Queue suspended runs. They all change alike, so few statements do for many of them."""
        unlooked = self._unlooked(runs)
        rows, woken = models.Run.objects.using(self._alias), []
        for run in runs:
            if run.pk not in unlooked:
                after = lifecycle.queue(run_record(run), now, nudge_interval=nudge_interval)
                changes.apply(run, after)
                woken.append(run)
        self._time_out(woken, now)
        if woken:
            values = {name: getattr(woken[0], name) for name in WOKEN}
            rows.filter(pk__in=[run.pk for run in woken]).update(**values)
            notes = [noted(run, "wake") for run in woken]
            models.History.objects.using(self._alias).bulk_create(notes)
        if unlooked:
            rows.filter(pk__in=unlooked).update(due_at=now + nudge_interval)
        return Due(
            nudges=tuple(nudge(run) for run in woken),
            unlooked=tuple(
                Lease(run.pk, run.fence, run.token) for run in runs if run.pk in unlooked
            ),
        )

    def _crash(self, runs: Sequence[models.Run], now: datetime) -> Due:
        """Take executing runs from workers that are gone."""
        entries = [changes.crash(self._alias, run, now) for run in runs]
        models.Run.objects.using(self._alias).bulk_update(runs, changes.SWEPT, batch_size=100)
        models.History.objects.using(self._alias).bulk_create(entries)
        return Due(
            nudges=tuple(nudge(run) for run in runs),
            failed=tuple(nudge(run) for run in runs if run.state == RunState.FAILED),
        )

    def _unclaimed(self, after: str, limit: int) -> Sequence[Unclaimed]:
        overdue = self._overdue_nudges().filter(task__gt=after).order_by("task", "due_at")
        first = overdue.values_list("task", flat=True).first()
        if first is None:
            return ()
        runs = list(self._overdue_nudges().filter(task=first).order_by("due_at")[:limit])
        return [
            Unclaimed(nudge=nudge(run), due_at=run.due_at)
            for run in self._without_paused(runs)
            if run.due_at is not None
        ]

    def _recent_claims(self, within: timedelta, limit: int) -> Sequence[RecentClaim]:
        latest = models.History.objects.using(self._alias).order_by("-sequence")
        entries = list(latest.values_list("run", "verb", "at")[:limit])
        now = read_now(self._guard.connection)
        claimed = {
            run: at for run, verb, at in reversed(entries) if verb == "claim" and at > now - within
        }
        runs = models.Run.objects.using(self._alias).filter(pk__in=claimed)
        # One that is queued again has become available since its claim.
        return [
            RecentClaim(nudge=nudge(run), available_at=run.available_at)
            for run in runs.only("task", "canvas", "available_at")
            if run.available_at <= claimed[run.pk]
        ]

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

    def _nudge_again_later(
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
