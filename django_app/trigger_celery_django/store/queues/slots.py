"""What claims and admissions share: the locked limits, holders of slots, runs in line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Count, F, Q, QuerySet

from trigger_celery.vocabulary.admission import KeyOf, Room
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Standing, line_of
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.rows import upsert
from trigger_celery_django.store.queues.limits import gate_of

HELD = Q(fence__isnull=False, run__state=RunState.EXECUTING, run__fence=F("fence"))
"""Of a slot: its run executes under the fence that took it."""
MOVED_ON = (
    Q(fence__isnull=False) & (~Q(run__state=RunState.EXECUTING) | ~Q(run__fence=F("fence")))
) | (Q(fence=None) & ~Q(run__state=RunState.QUEUED))
"""Of a slot: it means nothing any more, because its run went on without it."""
GIVEN = (Q(fence__isnull=False) | Q(promised_at__isnull=False)) & (
    Q(fence__isnull=False) | Q(fence=None, promised_at__isnull=False)
)
"""Of a slot: it is not a place in line. SQLite knows its partial index by the first half, and
MariaDB reads what the second says of its whole one."""
PLACE = ("queue", "key", "task", "line_at", "fence", "promised_at")
"""The columns that a slot, or a place in line, is replaced by."""


def standing_of(run: models.Run) -> Standing:
    """Return what decides which limits the run meets."""
    return Standing(
        run_id=run.pk,
        queue=line_of(run.queue, run.task),
        key=run.concurrency_key,
        task=run.task,
        starts=run.started_at is None,
    )


def limited_among(alias: str, names: Collection[str]) -> set[str]:
    """Return which of these queues are limited."""
    queues = models.DurableQueue.objects.using(alias).filter(name__in=names, limited=True)
    return set(queues.values_list("name", flat=True))


def lock_gates(alias: str, names: Collection[str]) -> list[models.DurableQueue]:
    """Lock those of the queues that are limited, by name, and return them.

    What is read after this, and not in the same snapshot, holds until the commit.
    """
    limited = models.DurableQueue.objects.using(alias).filter(name__in=names, limited=True)
    return list(limited.select_for_update().order_by("name"))


def room(
    alias: str,
    gates: Sequence[models.DurableQueue],
    now: datetime,
    counts: Mapping[KeyOf, int],
    *,
    line: str,
    keys: Collection[str],
) -> Room:
    """Return what locked gates allow the runs with these keys in a line; one statement at most.

    ``counts`` are what :func:`counts_of` returns.
    """
    due = {(gate.name, ""): gate.due_at for gate in gates if gate.due_at is not None}
    found = [gate_of(gate) for gate in gates]
    keyed = [key for key in keys if key]
    if keyed and any(gate.name == line and gate.limits.key_rate is not None for gate in found):
        rates = models.KeyRate.objects.using(alias).filter(queue=line, key__in=keyed)
        due |= {(line, key): due_at for key, due_at in rates.values_list("key", "due_at")}
    return Room(found, counts=counts, due=due, now=now)


def holding(alias: str, gates: Collection[str], promised_after: datetime) -> list[QuerySet[Any]]:
    """Return two queries of slots that concern these queues: those held, and those promised."""
    slots = models.Slot.objects.using(alias).filter(meets(gates))
    return [
        held(alias, gates),
        slots.filter(fence=None, promised_at__gt=promised_after, run__state=RunState.QUEUED),
    ]


def held(alias: str, gates: Collection[str]) -> QuerySet[models.Slot]:
    """Return the slots of these queues that are held."""
    return models.Slot.objects.using(alias).filter(meets(gates), HELD)


def save_due(alias: str, changed: Room) -> None:
    """Save the rates that starts were counted for; one statement each."""
    for name, key in sorted(changed.changed):
        due_at = changed.due[name, key]
        if key:
            rate = models.KeyRate(queue=name, key=key, due_at=due_at)
            upsert(alias, [rate], unique=("queue", "key"), over=("due_at",))
        else:
            queues = models.DurableQueue.objects.using(alias).filter(name=name)
            queues.update(due_at=due_at)


def take_slot(alias: str, run: models.Run) -> None:
    """Give the run, as it is after its claim, a slot; one statement."""
    _put(alias, slot_of(run, fence=run.fence))


def stand_in_line(alias: str, run: models.Run) -> None:
    """Put a queued run in line, where nothing but its admission nudges it; two statements."""
    _put(alias, slot_of(run, fence=None))
    models.Run.objects.using(alias).filter(pk=run.pk).update(due_at=None)


def take_back(alias: str, names: Collection[str]) -> None:
    """Let no promise of these queues hold any longer: what they allow has changed.

    A claim that counts on its promise counts nothing else. One statement.
    """
    promised = models.Slot.objects.using(alias).filter(meets(names), fence=None)
    promised.filter(promised_at__isnull=False).update(promised_at=None)


def slot_of(run: models.Run, *, fence: int | None) -> models.Slot:
    """Return the unsaved slot of a run, or its place in line."""
    return models.Slot(
        run_id=run.pk,
        queue=line_of(run.queue, run.task),
        key=run.concurrency_key,
        task=run.task,
        line_at=run.line_at,
        fence=fence,
    )


def clear(alias: str, names: Collection[str] | None, *, limit: int) -> int:
    """Delete at most ``limit`` slots of runs that left them; of all queues without names.

    Promises to runs that moved on too, but not their places in line: it reads none.
    """
    slots = models.Slot.objects.using(alias).filter(MOVED_ON, GIVEN)
    if names is not None:
        slots = slots.filter(meets(names))
    return delete(slots, limit)


def delete(slots: QuerySet[models.Slot], limit: int) -> int:
    """Delete at most ``limit`` of these slots, whose condition is on their runs too.

    Slot and run are locked together: a claim that commits meanwhile is seen, or passed over.
    """
    skips = connections[slots.db].features.has_select_for_update_skip_locked
    locked = slots.select_for_update(skip_locked=skips)
    gone = list(locked.values_list("pk", flat=True)[:limit])
    if gone:
        models.Slot.objects.using(slots.db).filter(pk__in=gone).delete()
    return len(gone)


def counts_of(
    alias: str, gates: Collection[str], promised_after: datetime, *, without: UUID | None = None
) -> Mapping[KeyOf, int]:
    """Count the holders of slots of these queues, by queue and key; one statement.

    The run ``without`` does not count: it may hold a promise that it is about to use.
    """
    held, promised = (
        slots.exclude(pk=without)
        .order_by()
        .values_list("queue", "key", "task")
        .annotate(count=Count("pk"))
        for slots in holding(alias, gates, promised_after)
    )
    return totals(held.union(promised, all=True))


def totals(rows: Iterable[tuple[str, str, str, int]]) -> Mapping[KeyOf, int]:
    """Add up slots of a queue, a key and a task to those that meet the limits of a queue."""
    counts: Counter[KeyOf] = Counter()
    for queue, key, task, count in rows:
        for name in {EVERYTHING, OF_TASK + task, queue}:
            counts[name, ""] += count
        if key:
            counts[queue, key] += count
    return counts


def _put(alias: str, slot: models.Slot) -> None:
    upsert(alias, [slot], unique=("run",), over=PLACE)


def meets(gates: Collection[str]) -> Q:
    """Return the condition on runs, or their slots, that meet the limits of one of these queues."""
    if EVERYTHING in gates:
        return Q()
    tasks = [name.removeprefix(OF_TASK) for name in gates if name.startswith(OF_TASK)]
    return Q(queue__in=gates) | Q(task__in=tasks)


def take_slots(alias: str, runs: Sequence[models.Run]) -> None:
    """Give slots to locked runs that execute; one statement."""
    if runs:
        taken = [slot_of(run, fence=run.fence) for run in runs]
        upsert(alias, taken, unique=("run_id",), over=PLACE)
