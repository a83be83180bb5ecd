"""Suspending and waking runs on every database but PostgreSQL, inside a short transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Min
from django.db.models.expressions import Combinable

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import LOOKED_FOR, Lease, NewWait, Nudge, Run, Suspend
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models.querysets import WaitQuerySet
from trigger_celery_django.store.common import changes
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.common.rows import (
    DatabaseNow,
    aware,
    noted,
    nudge,
    run_record,
    shape_digest,
)


def suspend(alias: str, lease: Lease, suspend: Suspend, look_within: timedelta) -> RunState:
    """Add the waits and suspend the run, or queue it; the caller holds its lock."""
    waits = models.Wait.objects.using(alias).filter(run=lease.run_id)
    # The first plain read after the run's lock: a repeatable-read snapshot begins only here.
    known = dict(waits.values_list("key", "state"))
    new = [_wait(lease, wait) for wait in suspend.waits if wait.key not in known]
    models.Wait.objects.using(alias).bulk_create(new)
    _add_shapes(alias, suspend.waits)
    ended = any(known.get(key, WaitState.WAITING) != WaitState.WAITING for key in suspend.keys)
    unlooked = waits.open().filter(looked=False).exists()
    run = models.Run.objects.using(alias).annotate(read_at=DatabaseNow()).get(pk=lease.run_id)
    now = aware(run.read_at)
    after = lifecycle.suspend(
        run_record(run),
        now,
        next_attempt=suspend.next_attempt,
        first_due=None if unlooked else first_due(waits),
        look_within=look_within if unlooked else None,
    )
    changed = changes.apply(run, after)
    entries = [noted(run, "suspend")]
    if ended:
        changed += changes.apply(run, queued(run, now))
        entries.append(noted(run, "wake"))
    run.save(using=alias, force_update=True, update_fields=set(changed))
    models.History.objects.using(alias).bulk_create(entries)
    return RunState(run.state)


def looked(alias: str, run_id: UUID, fence: int) -> None:
    """Note that stored events were compared with all open waits of the run."""
    run = models.Run.objects.using(alias).filter(pk=run_id, fence=fence, state=RunState.SUSPENDED)
    # The lock first; what is read after it is as it will stay.
    if run.update(due_at=F("due_at")):
        waits = models.Wait.objects.using(alias).filter(run=run_id)
        waits.open().filter(looked=False).update(looked=True)
        run.update(due_at=first_due(waits))


def first_due(waits: WaitQuerySet[models.Wait]) -> datetime | None:
    """Return when the first of the open waits ends by itself."""
    due_at: datetime | None = waits.open().aggregate(first=Min("due_at"))["first"]
    return due_at


def runs_of(alias: str, wait_ids: Sequence[int]) -> list[UUID]:
    """Return the runs of those of the waits that are open."""
    waits = models.Wait.objects.using(alias).filter(pk__in=wait_ids).open()
    return list(waits.values_list("run", flat=True).distinct())


def resolve(
    alias: str, run_ids: Sequence[UUID], sequence: int, wait_ids: Sequence[int]
) -> Sequence[Nudge]:
    """Let the event end those of the waits that are open; queue their suspended runs."""
    locked = _locked(alias, run_ids)
    runs = {pk: run for pk, run in locked.items() if run.event_cut < sequence}
    waits = models.Wait.objects.using(alias)
    taken = set(waits.filter(run__in=runs, event=sequence).values_list("run", flat=True))
    first: dict[UUID, models.Wait] = {}
    for wait in waits.filter(pk__in=wait_ids, run__in=runs).open().order_by("pk"):
        if wait.run_id not in taken:
            first.setdefault(wait.run_id, wait)
    waits.filter(pk__in=[wait.pk for wait in first.values()]).update(
        state=WaitState.EVENT, event=sequence, resolved_at=DatabaseNow()
    )
    return _wake(alias, runs, {run_id: wait.key for run_id, wait in first.items()})


def conclude(
    alias: str,
    run_ids: Sequence[UUID],
    wait_ids: Sequence[int],
    state: WaitState,
    value: str | None,
) -> Sequence[Nudge]:
    """End those of the waits that are open, as ``state``; queue their suspended runs."""
    runs = _locked(alias, run_ids)
    waits = models.Wait.objects.using(alias)
    found = waits.filter(pk__in=wait_ids, run__in=runs).open().select_for_update()
    keys = {wait.pk: (wait.run_id, wait.key) for wait in found.order_by("-pk")}
    waits.filter(pk__in=keys).update(state=state, value=value, resolved_at=DatabaseNow())
    return _wake(alias, runs, dict(keys.values()))


def cancel(guard: Guard, lease: Lease, keys: Collection[str]) -> None:
    """End those of these waits of the leased run that are open, as canceled."""
    no_key = guard.connection.features.has_select_for_no_key_update
    held = models.Run.objects.using(guard.alias).held(lease).select_for_update(no_key=no_key)
    if held.only("pk").first() is None:
        raise lost(lease)
    waits = models.Wait.objects.using(guard.alias).filter(run=lease.run_id, key__in=keys)
    waits.open().update(state=WaitState.CANCELED, resolved_at=DatabaseNow())


def _locked(alias: str, run_ids: Sequence[UUID]) -> dict[UUID, models.Run]:
    runs = models.Run.objects.using(alias).annotate(read_at=DatabaseNow())
    locked = runs.filter(pk__in=run_ids).order_by("pk").select_for_update()
    return {run.pk: run for run in locked}


def _wake(
    alias: str, runs: Mapping[UUID, models.Run], keys: Mapping[UUID, str]
) -> tuple[Nudge, ...]:
    """Queue the suspended ones of the runs; ``keys`` names the wait of each that has ended."""
    woken = [runs[run_id] for run_id in sorted(keys) if runs[run_id].state == RunState.SUSPENDED]
    for run in woken:
        locked_at: datetime = run.read_at  # type: ignore[attr-defined]  # of _locked()
        changes.apply(run, queued(run, aware(locked_at)))
    models.Run.objects.using(alias).bulk_update(woken, QUEUED)
    models.History.objects.using(alias).bulk_create(
        noted(run, "wake", key=keys[run.pk]) for run in woken
    )
    return tuple(nudge(run) for run in woken)


QUEUED = ("state", "worker", "available_at", "due_at")
"""What :func:`queued` changes."""


def queued(run: models.Run, now: datetime) -> Run:
    """Return a suspended run as it can be claimed at once."""
    return lifecycle.queue(run_record(run), now, nudge_interval=config().nudge_interval)


def _wait(lease: Lease, wait: NewWait) -> models.Wait:
    now = DatabaseNow()
    due_at: datetime | Combinable | None = wait.until
    if wait.delay is not None:
        due_at = now + wait.delay
    return models.Wait(
        run_id=lease.run_id,
        key=wait.key,
        kind=wait.kind,
        state=WaitState.WAITING,
        position=wait.position,
        name=wait.name,
        filter=wait.filter,
        paths=wait.paths,
        match_hash=wait.match_hash,
        token_id=wait.token_id,
        due_at=due_at,
        created_at=now,
        source=wait.source,
        looked=wait.kind not in LOOKED_FOR,
    )


def _add_shapes(alias: str, waits: Sequence[NewWait]) -> None:
    shapes = {shape_digest(wait.name, wait.paths): wait for wait in waits if wait.name}
    if shapes:
        models.WaitShape.objects.using(alias).bulk_create(
            [
                models.WaitShape(digest=digest, name=wait.name, paths=wait.paths)
                for digest, wait in sorted(shapes.items())
            ],
            ignore_conflicts=True,
        )
