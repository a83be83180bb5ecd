"""The hot verbs on MariaDB, MySQL and SQLite, and on PostgreSQL without psycopg 3.

Each is a short transaction that starts with a conditional update of the run: it tests the
lease, and holds the run's row (SQLite: the file) until the commit. Where the values of an
update depend on each other there are two, because MySQL assigns from left to right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce

from trigger_celery.identity import new_token
from trigger_celery.records import (
    Checkpoint,
    Claim,
    Claimed,
    Ending,
    FailedAttempt,
    Lease,
    NewRun,
    Nudge,
    Suspend,
)
from trigger_celery.states import TRANSITIONS, UNSUCCESSFUL, RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.querysets import UNPUBLISHED, RunQuerySet
from trigger_celery_django.store.guard import Guard, lost
from trigger_celery_django.store.hot import portable_steps, portable_waits
from trigger_celery_django.store.letters import open_letter
from trigger_celery_django.store.rows import add_failure, first_nudge, noted, run_record
from trigger_celery_django.store.times import DatabaseNow, read_now


class PortableHot:
    """Implements :class:`~trigger_celery_django.store.hot.Hot`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def create(self, runs: Sequence[NewRun]) -> Collection[UUID]:
        """Insert queued runs in the caller's transaction; return the ids that were new."""
        now = read_now(self._guard.connection)
        token = new_token()
        rows = [_queued(run, token, now) for run in {run.id: run for run in runs}.values()]
        table = models.Run.objects.using(self._alias)
        table.bulk_create(rows, ignore_conflicts=True)
        # Not every database tells which rows it inserted: they are those with our token.
        mine = table.filter(pk__in=[run.id for run in runs], token=token)
        created = set(mine.values_list("pk", flat=True))
        models.History.objects.using(self._alias).bulk_create(
            noted(row, "trigger") for row in rows if row.pk in created
        )
        return created

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None."""
        return self._guard.transaction(lambda: self._claim(claim))

    def _claim(self, claim: Claim) -> Claimed | None:
        verb = self._own(claim)
        found = (
            models.Run.objects.using(self._alias)
            .filter(pk=claim.run_id, task=claim.task, token=claim.token)
            .filter(Q(state=RunState.EXECUTING) | UNPUBLISHED)
            .first()
        )
        if found is None:
            return None
        if verb is not None:
            noted(found, verb).save(using=self._alias, force_insert=True)
        assert found.due_at is not None, "it was set with the claim"
        run = run_record(found)
        return Claimed(
            run=run,
            lease=Lease(run.id, run.fence),
            now=found.due_at - found.lease_length,
            publishing=run.state.terminal,
            replayed=run.fence > 1,
        )

    def _own(self, claim: Claim) -> str | None:
        now = DatabaseNow()
        run = models.Run.objects.using(self._alias).filter(pk=claim.run_id, task=claim.task)
        owned = {
            "fence": F("fence") + 1,
            "worker": claim.worker,
            "token": claim.token,
            "lease_length": claim.length,
            "due_at": now + claim.length,
        }
        if run.filter(state=RunState.QUEUED, available_at__lte=now).update(
            state=RunState.EXECUTING,
            version=claim.version,
            started_at=Coalesce("started_at", now),
            **owned,
        ):
            return "claim"
        unowned = Q(worker="") | Q(due_at__lte=now)
        return "publish" if run.unpublished().filter(unowned).update(**owned) else None

    def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Extend all these leases by their own lengths; return those that still hold."""
        return self._guard.transaction(lambda: self._renew(leases)) if leases else set()

    def _renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        held = Q()
        for lease in leases:
            held |= Q(pk=lease.run_id, fence=lease.fence)
        runs = models.Run.objects.using(self._alias).filter(held, state=RunState.EXECUTING)
        extended = ExpressionWrapper(DatabaseNow() + F("lease_length"), DateTimeField())
        if runs.update(due_at=extended) == len(leases):
            return set(leases)
        return {Lease(run_id, fence) for run_id, fence in runs.values_list("pk", "fence")}

    def end(self, lease: Lease, ending: Ending) -> None:
        """End the run; repeated with the same token it changes nothing."""
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
        )
        if not ended:
            self._settled(lease, ending.token)
            return
        models.Wait.objects.using(self._alias).filter(run=lease.run_id).open().update(
            state=WaitState.CANCELED, resolved_at=now
        )
        if ending.failed is not None:
            add_failure(self._alias, lease, ending.failed)
        if ending.state in UNSUCCESSFUL:
            open_letter(self._alias, lease.run_id, ending.fingerprint)
        run = models.Run.objects.using(self._alias).get(pk=lease.run_id)
        noted(run, TRANSITIONS[RunState.EXECUTING][ending.state]).save(
            using=self._alias, force_insert=True
        )

    def published(self, lease: Lease) -> None:
        """Note that result and callbacks of an ended run are out."""
        run = models.Run.objects.using(self._alias).filter(pk=lease.run_id, fence=lease.fence)
        self._guard.transaction(
            lambda: run.unpublished().update(published_at=DatabaseNow(), due_at=None)
        )

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all."""
        self._guard.statement(
            lambda connection: portable_steps.record(connection, lease, checkpoint), joins=True
        )

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt that is followed by another in the same segment."""
        self._guard.statement(
            lambda connection: portable_steps.record_failure(connection, lease, failed)
        )

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        """Add the waits and suspend the run; return its new state."""
        return self._guard.transaction(lambda: self._suspend(lease, suspend, look_within))

    def looked(self, run_id: UUID, *, fence: int) -> None:
        """Note that stored events were compared with all open waits of the run."""
        self._guard.transaction(lambda: portable_waits.looked(self._alias, run_id, fence))

    def _suspend(self, lease: Lease, suspend: Suspend, look_within: timedelta) -> RunState:
        if not self._held(lease).update(token=suspend.token):
            return self._settled(lease, suspend.token)
        if suspend.failed is not None:
            add_failure(self._alias, lease, suspend.failed)
        return portable_waits.suspend(self._alias, lease, suspend, look_within)

    def resolve(self, sequence: int, wait_ids: Sequence[int]) -> Sequence[Nudge]:
        """Let the event end those of the waits that are open; queue their suspended runs."""
        # Read before the transaction, whose snapshot must not begin before it has its locks.
        runs = self._guard.read(lambda: portable_waits.runs_of(self._alias, wait_ids))
        if not runs:
            return ()
        return self._guard.transaction(
            lambda: portable_waits.resolve(self._alias, runs, sequence, wait_ids)
        )

    def _held(self, lease: Lease) -> RunQuerySet[models.Run]:
        return models.Run.objects.using(self._alias).held(lease.run_id, lease.fence)

    def _settled(self, lease: Lease, token: str) -> RunState:
        """Return the state of a run whose last write was ours already; else the lease is lost."""
        run = models.Run.objects.using(self._alias).filter(
            pk=lease.run_id, fence=lease.fence, token=token
        )
        state = run.values_list("state", flat=True).first()
        if state is None:
            raise lost(lease)
        return RunState(state)


def _queued(run: NewRun, token: str, now: datetime) -> models.Run:
    available_at = run.available_at or now + run.delay
    return models.Run(
        id=run.id,
        task=run.task,
        state=RunState.QUEUED,
        input=run.input,
        canvas=run.canvas,
        max_crashes=run.max_crashes,
        token=token,
        created_at=now,
        available_at=available_at,
        due_at=first_nudge(available_at, now),
    )
