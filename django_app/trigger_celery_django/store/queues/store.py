"""Durable queues: what they allow, how full they are, and which runs are let in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from itertools import count
from uuid import UUID

from trigger_celery.errors import QueueNotFound
from trigger_celery.vocabulary.records import (
    EVERYTHING,
    REQUESTS,
    Admitted,
    Holder,
    Limits,
    QueueLoad,
    Rate,
    StoredQueue,
)
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import check_length, read_now
from trigger_celery_django.store.queues import cleanup, loads, requests, slots
from trigger_celery_django.store.queues import limits as rates
from trigger_celery_django.store.queues import waiting as lines
from trigger_celery_django.store.queues.admission import admit
from trigger_celery_django.store.queues.first_limits import count_executing
from trigger_celery_django.store.queues.limits import declared_text, limits_of, limits_text, stored

_CHANGED = ("declared", "overrides", "limited", "paused_at", "paused_by", "pause_reason")
_ADMISSIONS = 50
"""After so many admissions of a process the slots of runs that ended are deleted."""
_CLEARED = 500

Change = Callable[[models.DurableQueue], None]


class DjangoQueues:
    """Implements :class:`trigger_celery.ports.Queues`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._cleanup = cleanup.Cleanup(guard)
        self._admissions = count(1)

    def declare(self, declared: Mapping[str, Limits]) -> int:
        for name in declared:
            check_length("queue", name)
        texts = {name: declared_text(limits) for name, limits in declared.items()}
        rows = models.DurableQueue.objects.using(self._alias).filter(name__in=texts)
        known = dict(self._guard.read(lambda: list(rows.values_list("name", "declared"))))
        changed = {name: text for name, text in texts.items() if known.get(name) != text}
        if changed:

            def change(row: models.DurableQueue) -> None:
                row.declared = changed[row.name]

            self._change(changed, change, creates=True)
        return len(changed)

    def get(self, name: str) -> StoredQueue | None:
        rows = models.DurableQueue.objects.using(self._alias).filter(name=name)
        row = self._guard.read(rows.first)
        return None if row is None else stored(row)

    def all(self) -> Sequence[StoredQueue]:
        rows = models.DurableQueue.objects.using(self._alias).all()
        found = [stored(row) for row in self._guard.read(lambda: list(rows))]
        return sorted(found, key=lambda queue: queue.name)

    def override(self, name: str, limits: Mapping[str, int | Rate | None]) -> bool:
        def change(row: models.DurableQueue) -> None:
            row.overrides = limits_text({**limits_of(row.overrides), **limits})

        return self._change_known(name, change)

    def reset(self, name: str) -> bool:
        def change(row: models.DurableQueue) -> None:
            row.overrides = limits_text({})

        return self._change_known(name, change)

    def pause(self, name: str, *, by: str = "", reason: str = "") -> bool:
        def change(row: models.DurableQueue) -> None:
            if row.paused_at is None:
                row.paused_at = read_now(self._guard.connection)
                row.paused_by, row.pause_reason = by, reason

        return self._change_known(name, change)

    def resume(self, name: str) -> bool:
        def change(row: models.DurableQueue) -> None:
            row.paused_at, row.paused_by, row.pause_reason = None, "", ""

        return self._change_known(name, change)

    def loads(self) -> Sequence[QueueLoad]:
        return self._guard.read(lambda: loads.loads(self._alias))

    def holders(self, name: str, *, limit: int) -> Sequence[Holder]:
        return self._guard.read(lambda: loads.holders(self._alias, name, limit))

    def holds(self, run_id: UUID) -> bool:
        slots_of_run = models.Slot.objects.using(self._alias).filter(slots.HELD, pk=run_id)
        return self._guard.read(slots_of_run.exists)

    def lines(self) -> Sequence[str]:
        return sorted(self._guard.statement(lines.lines))

    def admit(self, queue: str, *, limit: int, nudge_interval: timedelta) -> Admitted:
        if not next(self._admissions) % _ADMISSIONS:
            # Otherwise each claim would read the slots of all that ended since the last cleanup.
            self._cleanup.clear_held(limit=_CLEARED)
        return admit(self._guard, queue, limit=limit, nudge_interval=nudge_interval)

    def count_request(self, kind: str, sender: str, rate: Rate) -> timedelta:
        check_length("sender", sender)
        return requests.count_request(self._guard, REQUESTS + kind, sender, rate)

    def clean_up(self, *, limit: int) -> int:
        return self._cleanup.clean_up(limit=limit)

    def _change_known(self, name: str, change: Change) -> bool:
        """Change a queue that must be there, but for that of everything; False for no change."""
        return bool(self._change([name], change, creates=name == EVERYTHING))

    def _change(self, names: Collection[str], change: Change, *, creates: bool) -> int:
        """Change the queues, each in its locked row; return how many were changed."""
        limited: list[str] = []

        def work() -> int:
            limited.clear()
            changed: list[str] = []
            for row in self._locked(names, creates):
                before, limits = _columns(row), stored(row).limits
                change(row)
                row.limited = stored(row).is_limited
                if _columns(row) != before:
                    row.save(using=self._alias, force_update=True, update_fields=_CHANGED)
                    rates.hold_from_now(self._alias, row, limits)
                    changed.append(row.name)
                if row.limited and not before["limited"]:
                    limited.append(row.name)
            self._count_executing(limited)
            if changed:
                slots.take_back(self._alias, changed)
            return len(changed)

        changed = self._guard.transaction(work)
        # Again: a claim that began before that commit, and so took no slot, may be through now.
        # An admission that knew of no limit may be, too.
        if limited:
            self._guard.transaction(lambda: self._count_executing(limited))
            self._guard.transaction(lambda: slots.take_back(self._alias, limited))
        return changed

    def _locked(self, names: Collection[str], creates: bool) -> Sequence[models.DurableQueue]:
        queues = models.DurableQueue.objects.using(self._alias)
        if creates:
            new = [models.DurableQueue(name=name) for name in sorted(names)]
            queues.bulk_create(new, ignore_conflicts=True)
        rows = queues.filter(name__in=names).select_for_update().order_by("name")
        found = list(rows)
        missing = set(names) - {row.name for row in found}
        if missing:
            raise QueueNotFound(f"no durable queue is called {min(missing)!r}")
        return found

    def _count_executing(self, names: Collection[str]) -> None:
        if names:
            count_executing(self._alias, names)


def _columns(row: models.DurableQueue) -> dict[str, object]:
    return {column: getattr(row, column) for column in _CHANGED}
