"""The runs, which worker owns each, and what their steps returned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import Q

from trigger_celery.errors import RunNotFound
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    Claim,
    Claimed,
    Created,
    Ending,
    HistoryEntry,
    Holds,
    Lease,
    ListedRun,
    ListPosition,
    NewRun,
    Nudge,
    Outcomes,
    Run,
    RunFilter,
)
from trigger_celery.vocabulary.states import (
    TERMINAL,
    DeadLetterState,
    RunState,
    WaitState,
)
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models import NAME_LENGTH
from trigger_celery_django.store.common import changes, dead_letters
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.common.rows import (
    LISTED_COLUMNS,
    add_tags,
    check_length,
    history_record,
    listed_run,
    noted,
    nudge,
    run_record,
)
from trigger_celery_django.store.databases import DatabaseVerbs

T = TypeVar("T")

_BATCH = 500


class DjangoRuns:
    """Implements :class:`trigger_celery.ports.Runs`."""

    def __init__(self, guard: Guard, verbs: DatabaseVerbs) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._verbs = verbs

    def create(self, runs: Sequence[NewRun]) -> Created:
        for run in runs:
            if len(run.task) > NAME_LENGTH:
                check_length("task", run.task)

        def insert() -> Created:
            ids: set[UUID] = set()
            lines: dict[UUID, str] = {}
            for start in range(0, len(runs), _BATCH):
                batch = self._verbs.create(runs[start : start + _BATCH])
                ids |= batch
                lines |= batch.lines
            if any(run.tags for run in runs):
                add_tags(self._alias, runs, ids)
            return Created(ids).standing(lines) if lines else Created(ids)

        return self._guard.joining(insert)

    def find(
        self, wanted: RunFilter, *, after: ListPosition | None = None, limit: int
    ) -> Sequence[ListedRun]:
        runs = models.Run.objects.using(self._alias).wanted(wanted).newest_first(after)
        return self._guard.read(
            lambda: [listed_run(row) for row in runs.values(*LISTED_COLUMNS)[:limit]]
        )

    def beginning_with(self, digits: str, *, limit: int) -> Sequence[UUID]:
        mysql = self._guard.connection.vendor == "mysql"
        runs = models.Run.objects.using(self._alias).beginning_with(digits, in_order=not mysql)
        ids = runs.values_list("pk", flat=True)
        return self._guard.read(lambda: list(ids[:limit]))

    def get(self, run_id: UUID) -> Run | None:
        rows = models.Run.objects.using(self._alias).filter(pk=run_id)
        row = self._guard.read(rows.first)
        return None if row is None else run_record(row)

    def history(self, run_id: UUID) -> Sequence[HistoryEntry]:
        rows = models.History.objects.using(self._alias).filter(run=run_id).order_by("sequence")
        return [history_record(row) for row in self._guard.read(lambda: list(rows))]

    def claim(self, claim: Claim) -> Claimed | None:
        return self._verbs.claim(claim)

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        return self._verbs.renew(leases)

    def end(self, lease: Lease, ending: Ending) -> None:
        lifecycle.check_end(ending.state)
        self._verbs.end(lease, ending)

    def published(self, lease: Lease) -> None:
        self._verbs.published(lease)

    def hand_back(self, lease: Lease, token: str) -> Nudge:
        def change(run: models.Run, now: datetime) -> Nudge:
            if run.fence == lease.fence and run.token == token:
                return nudge(run)
            held = (run.fence, run.token, run.state)
            if held != (lease.fence, lease.token, RunState.EXECUTING):
                raise lost(lease)
            run.token = token
            after = lifecycle.queue(run_record(run), now, nudge_interval=config().nudge_interval)
            return self._save(run, after, "hand back")

        handed = self._change(lease.run_id, change)
        if handed is None:
            raise lost(lease)
        return handed

    def recover(self, run_id: UUID, worker: str) -> Nudge | None:
        def change(run: models.Run, now: datetime) -> Nudge | None:
            if run.worker != worker:
                return None
            if run.state != RunState.EXECUTING:
                return self._give_up(run, now)
            entry = changes.crash(self._alias, run, now)
            run.save(using=self._alias, force_update=True, update_fields=changes.SWEPT)
            entry.save(using=self._alias, force_insert=True)
            return nudge(run)

        return self._change(run_id, change)

    def _give_up(self, run: models.Run, now: datetime) -> Nudge | None:
        """Let another process publish the end of the run; None if there is nothing to publish."""
        if not RunState(run.state).terminal or run.published_at is not None:
            return None
        after = lifecycle.hand_over_publishing(
            run_record(run), now, nudge_interval=config().nudge_interval
        )
        changes.save(self._alias, run, after)
        return nudge(run)

    def cancel(
        self, run_id: UUID, error: str, details: Mapping[str, str] | None = None
    ) -> Nudge | None:
        def change(run: models.Run, now: datetime) -> Nudge | None:
            if RunState(run.state).terminal:
                return None
            changes.cancel_waits(self._alias, [run.pk])
            after = lifecycle.cancel(run_record(run), now, error=error)
            return self._save(run, after, "cancel", details)

        return self._change(run_id, change)

    def retry(self, run_id: UUID, details: Mapping[str, str] | None = None) -> Nudge:
        def change(run: models.Run, now: datetime) -> Nudge:
            after = lifecycle.retry(run_record(run), now, nudge_interval=config().nudge_interval)
            forgotten = self._forgotten(run)
            # Canceled by the end only: without an outcome they can be awaited again.
            waits = models.Wait.objects.using(self._alias).filter(run=run_id)
            waits.filter(state=WaitState.CANCELED).delete()
            dead_letters.settle(self._alias, [run_id], DeadLetterState.RETRIED, details)
            return self._save(run, after, "retry", {**(details or {}), **forgotten})

        queued = self._change(run_id, change)
        if queued is None:
            raise RunNotFound(f"no run has the id {run_id}")
        return queued

    def _forgotten(self, run: models.Run) -> dict[str, str]:
        """Return which steps a retry tries again, for the history."""
        tries = models.FailedAttempt.objects.using(self._alias).filter(
            run=run.pk, fence__gt=run.attempts_after_fence
        )
        last = Q(holds=Holds.LIFE) | Q(holds=Holds.ATTEMPT, run_attempt=run.attempt)
        keys = tries.filter(last).order_by("position", "pk").values_list("key", flat=True)
        return {"forgets": ", ".join(dict.fromkeys(keys))} if keys else {}

    def note(self, run_id: UUID, verb: str, details: Mapping[str, str]) -> None:
        def change(run: models.Run, now: datetime) -> None:
            noted(run, verb, **details).save(using=self._alias, force_insert=True)

        self._change(run_id, change)

    def notes_since_end(self, run_id: UUID, verb: str) -> Sequence[HistoryEntry]:
        history = models.History.objects.using(self._alias).filter(run=run_id)
        # Read backwards from the last entry to the first that is met.
        alive = history.exclude(state__in=TERMINAL).order_by("-sequence").values("sequence")[:1]
        rows = history.filter(sequence__gt=alive, verb=verb).order_by("sequence")
        return [history_record(row) for row in self._guard.read(lambda: list(rows))]

    def _change(self, run_id: UUID, change: Callable[[models.Run, datetime], T]) -> T | None:
        """Call ``change`` with the locked row and the time in a transaction; None without a row."""

        def known(run: models.Run | None, now: datetime) -> T | None:
            return None if run is None else change(run, now)

        return changes.locked(self._guard, run_id, known)

    def _save(
        self, run: models.Run, after: Run, verb: str, details: Mapping[str, str] | None = None
    ) -> Nudge:
        changes.save(self._alias, run, after, "token")
        noted(run, verb, **details or {}).save(using=self._alias, force_insert=True)
        return nudge(run)


class DjangoCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, guard: Guard, verbs: DatabaseVerbs) -> None:
        self._guard = guard
        self._verbs = verbs
        self.record = verbs.record
        self.record_failure = verbs.record_failure

    def keep_failures(self, lease: Lease, failures: Mapping[str, int]) -> None:
        alias = self._guard.alias

        def work() -> None:
            runs = models.Run.objects.using(alias).select_for_update().held(lease)
            life = runs.values_list("attempts_after_fence", flat=True).first()
            if life is None:
                raise lost(lease)
            tries = models.FailedAttempt.objects.using(alias).filter(
                run=lease.run_id, fence__gt=life
            )
            for key, number in failures.items():
                tries.filter(key=key, number=number).update(holds=Holds.ALWAYS)

        self._guard.transaction(work)

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        return self._guard.read(lambda: self._verbs.load(run_id, run_attempt))
