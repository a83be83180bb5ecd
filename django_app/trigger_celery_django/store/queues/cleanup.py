"""Deletes what means nothing any more of slots, places in line and rates."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, OuterRef, Q

from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow
from trigger_celery_django.store.queues import slots

_LOOKED_AT = 500
"""So many places in line are looked at in one call; the next one goes on behind them."""


class Cleanup:
    """Deletes rows a bounded piece at a time."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._seen_to: UUID | None = None

    def clean_up(self, *, limit: int) -> int:
        """Delete at most ``limit`` slots and places, and as many rates; return how many."""

        def work() -> int:
            held = slots.clear(self._alias, None, limit=limit)
            held += self._clear_lost(slots.GIVEN, limit - held)
            return held + self._clear_places(limit - held) + self._clear_rates(limit)

        return self._guard.transaction(work)

    def clear_held(self, *, limit: int) -> None:
        """Delete at most ``limit`` slots of runs that left them."""
        self._guard.transaction(lambda: slots.clear(self._alias, None, limit=limit))

    def _clear_places(self, limit: int) -> int:
        """Look through the line from where the last call ended."""
        waiting = models.Slot.objects.using(self._alias).filter(fence=None, promised_at=None)
        ahead = waiting if self._seen_to is None else waiting.filter(pk__gt=self._seen_to)
        seen = list(ahead.order_by("pk").values_list("pk", flat=True)[:_LOOKED_AT])
        if not seen:
            self._seen_to = None
            return 0
        piece = Q(fence=None, promised_at=None, pk__gte=seen[0], pk__lte=seen[-1])
        gone = self._clear_lost(piece, limit)
        left = ~Q(run__state=RunState.QUEUED)
        found = waiting.filter(piece, left).values_list("pk", flat=True)[: limit - gone]
        if ended := list(found):
            # Asked again, with the runs locked: one may be retried and stand in line since.
            gone += slots.delete(waiting.filter(left, pk__in=ended), limit)
        if gone < limit:
            self._seen_to = seen[-1] if len(seen) == _LOOKED_AT else None
        return gone

    def _clear_lost(self, which: Q, limit: int) -> int:
        """Delete what runs that were deleted past Django have left behind: they are gone for good.

        Found without locks, which would show a slot that is younger than what is seen of runs.
        """
        rows = models.Slot.objects.using(self._alias)
        runs = models.Run.objects.using(self._alias).filter(pk=OuterRef("pk"))
        lost = list(rows.filter(which, ~Exists(runs)).values_list("pk", flat=True)[:limit])
        return rows.filter(pk__in=lost).delete()[0] if lost else 0

    def _clear_rates(self, limit: int) -> int:
        idle = models.KeyRate.objects.using(self._alias).filter(due_at__lte=DatabaseNow())
        found = list(idle.order_by("due_at").values_list("pk", flat=True)[:limit])
        # Asked again: a start may have been counted since.
        return idle.filter(pk__in=found).delete()[0] if found else 0
