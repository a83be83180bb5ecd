"""The verbs of every run on MariaDB, MySQL and SQLite, and on PostgreSQL without psycopg 3.

Each is a short transaction that starts with a conditional update of the run: it tests the
lease, and holds the run's row (SQLite: the file) until the commit. Where the values of an
update depend on each other there are two, because MySQL assigns from left to right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.models import DateTimeField, ExpressionWrapper, F, Q

from trigger_celery.vocabulary.records import (
    Audience,
    Checkpoint,
    Ending,
    FailedAttempt,
    Lease,
    NewEvent,
    Nudge,
    Outcomes,
    Suspend,
)
from trigger_celery.vocabulary.states import TRANSITIONS, UNSUCCESSFUL, RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.models.querysets import RunQuerySet
from trigger_celery_django.store.common import dead_letters, outcomes
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.common.rows import DatabaseNow, add_failure, noted, run_record
from trigger_celery_django.store.portable import claims, events, new_runs, steps, waits
from trigger_celery_django.store.portable import events as portable_audience


class PortableVerbs:
    """Implements :class:`~trigger_celery_django.store.databases.DatabaseVerbs`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias
        self.create = partial(new_runs.create, guard)
        self.claim = partial(claims.claim, guard)

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        return self._guard.transaction(lambda: self._renew(leases)) if leases else {}

    def _renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        held = Q()
        for lease in leases:
            held |= Q(pk=lease.run_id, fence=lease.fence, token=lease.token)
        runs = models.Run.objects.using(self._alias).filter(held, state=RunState.EXECUTING)
        extended = ExpressionWrapper(DatabaseNow() + F("lease_length"), DateTimeField())
        if runs.filter(paused_at=None).update(due_at=extended) == len(leases):
            return dict.fromkeys(leases, False)
        runs.exclude(paused_at=None).update(due_at=extended)
        rows = runs.values_list("pk", "fence", "token", "paused_at")
        return {Lease(pk, fence, token): paused is not None for pk, fence, token, paused in rows}

    def end(self, lease: Lease, ending: Ending) -> None:
        self._guard.transaction(lambda: self._end(lease, ending))

    def _end(self, lease: Lease, ending: Ending) -> None:
        now = DatabaseNow()
        ended = self._held(lease).update(
            state=ending.state,
            output=ending.output,
            error=ending.error,
            token=ending.token,
            finished_at=now,
            published_at=None if ending.publish else now,
            due_at=now + ending.publish_within if ending.publish else None,
            deadline_at=None,
        )
        if not ended:
            self._read_back(lease, ending.token)
            return
        models.Wait.objects.using(self._alias).filter(run=lease.run_id).open().update(
            state=WaitState.CANCELED, resolved_at=now
        )
        if ending.failed is not None:
            add_failure(self._alias, lease, ending.failed)
        dead_letters.resolve(self._alias, ending.resolves)
        run = models.Run.objects.using(self._alias).get(pk=lease.run_id)
        if ending.state in UNSUCCESSFUL:
            dead_letters.open_of(self._alias, run_record(run), ending.cause)
        noted(run, TRANSITIONS[RunState.EXECUTING][ending.state]).save(
            using=self._alias, force_insert=True
        )

    def published(self, lease: Lease) -> None:
        run = models.Run.objects.using(self._alias).filter(pk=lease.run_id, fence=lease.fence)
        self._guard.transaction(
            lambda: run.unpublished().update(published_at=DatabaseNow(), due_at=None)
        )

    def load(self, run_id: UUID, run_attempt: int) -> Outcomes:
        return outcomes.load(self._guard.connection, run_id, run_attempt)

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        self._guard.statement(
            lambda connection: steps.record(connection, lease, checkpoint), joins=True
        )

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        self._guard.statement(lambda connection: steps.record_failure(connection, lease, failed))

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        return self._guard.transaction(lambda: self._suspend(lease, suspend, look_within))

    def looked(self, run_id: UUID, *, fence: int) -> None:
        self._guard.transaction(lambda: waits.looked(self._alias, run_id, fence))

    def _suspend(self, lease: Lease, suspend: Suspend, look_within: timedelta) -> RunState:
        if not self._held(lease).update(token=suspend.token):
            return self._read_back(lease, suspend.token)
        if suspend.failed is not None:
            add_failure(self._alias, lease, suspend.failed)
        return waits.suspend(self._alias, lease, suspend, look_within)

    def audience(self, name: str, hashes: Sequence[int], *, before: int, limit: int) -> Audience:
        return portable_audience.audience(self._guard, name, hashes, limit)

    def resolve(self, sequence: int, wait_ids: Sequence[int], *, matched: bool) -> Sequence[Nudge]:
        # Read before the transaction, whose snapshot must not begin before it has its locks.
        runs = self._guard.read(lambda: waits.runs_of(self._alias, wait_ids))

        def work() -> Sequence[Nudge]:
            nudges = waits.resolve(self._alias, runs, sequence, wait_ids) if runs else ()
            if matched:
                events.matched(self._alias, sequence)
            return nudges

        return self._guard.transaction(work) if runs or matched else ()

    def add_event(self, event: NewEvent) -> tuple[int, datetime] | None:
        return events.add(self._guard.connection, event)

    def matched(self, sequence: int) -> None:
        self._guard.statement(lambda _: events.matched(self._alias, sequence))

    def _held(self, lease: Lease) -> RunQuerySet[models.Run]:
        runs: RunQuerySet[models.Run] = models.Run.objects.using(self._alias)
        return runs.held(lease)

    def _read_back(self, lease: Lease, token: str) -> RunState:
        """Return the state of a run whose last write was ours already; else the lease is lost."""
        run = models.Run.objects.using(self._alias).filter(
            pk=lease.run_id, fence=lease.fence, token=token
        )
        state = run.values_list("state", flat=True).first()
        if state is None:
            raise lost(lease)
        return RunState(state)
