"""Suspended runs and the events that wake them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from trigger_celery.records import Candidate, Event, Lease, Nudge, StepKind, Suspend
from trigger_celery.states import RunState
from trigger_celery_django import models
from trigger_celery_django.querysets import WaitQuerySet
from trigger_celery_django.store.guard import Guard
from trigger_celery_django.store.hot import Hot
from trigger_celery_django.store.rows import event_record


class DjangoWaits:
    """Implements :class:`trigger_celery.ports.Waits`."""

    def __init__(self, guard: Guard, hot: Hot) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._hot = hot

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        """Add the waits and suspend the run; return its new state."""
        return self._hot.suspend(lease, suspend, look_within=look_within)

    def looked(self, run_id: UUID, *, fence: int) -> None:
        """Note that stored events were compared with all open waits of the run."""
        self._hot.looked(run_id, fence=fence)

    def unseen_events(self, run_id: UUID, name: str, *, after: int, limit: int) -> Sequence[Event]:
        """Return stored events of this name, by sequence, that this run may still take."""
        run = models.Run.objects.using(self._alias).filter(pk=run_id)
        # Asked first: only of a constant can PostgreSQL tell how few events are so recent.
        created_at = self._guard.read(run.values_list("created_at", flat=True).first)
        if created_at is None:
            return []
        events = (
            models.Event.objects.using(self._alias)
            .filter(name=name, sequence__gt=after)
            .since(created_at)
            .exclude(wait__run=run_id)
            .order_by("sequence")
        )
        return [event_record(row) for row in self._guard.read(lambda: list(events[:limit]))]

    def open(self, run_id: UUID) -> Sequence[Candidate]:
        """Return the open event waits of a run, by id."""
        waits = (
            models.Wait.objects.using(self._alias).filter(run=run_id, kind=StepKind.EVENT).open()
        )
        return self._candidates(waits.order_by("pk"))

    def shapes(self, name: str) -> Sequence[str]:
        """Return the distinct ``paths`` texts of all waits ever made on this event name."""
        shapes = models.WaitShape.objects.using(self._alias).filter(name=name)
        return self._guard.read(lambda: sorted(shapes.values_list("paths", flat=True)))

    def candidates(
        self, name: str, hashes: Sequence[int], *, after: int, limit: int
    ) -> Sequence[Candidate]:
        """Return open waits with one of these hashes whose id is over ``after``, by id."""
        waits = models.Wait.objects.using(self._alias).open().filter(name=name, pk__gt=after)
        slices = [waits.filter(match_hash=h).order_by("pk")[:limit] for h in sorted(set(hashes))]
        if not slices:
            return []
        if len(slices) == 1:
            return self._candidates(slices[0])
        if self._guard.connection.features.supports_slicing_ordering_in_compound:
            # One bounded index scan for each hash: a plain IN sorts all that are left of all.
            first, *others = slices
            return self._candidates(first.union(*others, all=True).order_by("pk")[:limit])
        found = waits.filter(match_hash__in=hashes).order_by("pk")
        return self._candidates(found[:limit])

    def resolve(self, sequence: int, wait_ids: Sequence[int]) -> Sequence[Nudge]:
        """Let the event end those of the waits that are open; queue their suspended runs."""
        return self._hot.resolve(sequence, wait_ids)

    def _candidates(self, waits: WaitQuerySet[models.Wait]) -> list[Candidate]:
        rows = waits.values_list("pk", "run", "key", "name", "filter")
        return [
            Candidate(wait_id=wait_id, run_id=run_id, key=key, name=name, filter=text)
            for wait_id, run_id, key, name, text in self._guard.read(lambda: list(rows))
        ]
