"""Suspended runs and the events that wake them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import Subquery

from trigger_celery.vocabulary.records import (
    LOOKED_FOR,
    Candidate,
    Lease,
    Nudge,
    StoredEvent,
    Suspend,
)
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, event_record
from trigger_celery_django.store.databases import DatabaseVerbs
from trigger_celery_django.store.portable import events as audience
from trigger_celery_django.store.portable import waits as portable_waits


class DjangoWaits:
    """Implements :class:`trigger_celery.ports.Waits`."""

    def __init__(self, guard: Guard, verbs: DatabaseVerbs) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._verbs = verbs

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        return self._verbs.suspend(lease, suspend, look_within=look_within)

    def looked(self, run_id: UUID, *, fence: int) -> None:
        self._verbs.looked(run_id, fence=fence)

    def unseen_events(
        self, run_id: UUID, name: str, *, after: int, limit: int
    ) -> Sequence[StoredEvent]:
        cut = models.Run.objects.using(self._alias).filter(pk=run_id).values("event_cut")
        events = (
            models.Event.objects.using(self._alias)
            .filter(name=name, sequence__gt=after)
            .filter(sequence__gt=Subquery(cut))
            # What is older may be purged while it is looked at.
            .filter(received_at__gt=DatabaseNow() - config().event_retention)
            .exclude(wait__run=run_id)
            .order_by("sequence")
        )
        return [event_record(row) for row in self._guard.read(lambda: list(events[:limit]))]

    def open(self, run_id: UUID, *, key: str | None = None) -> Sequence[Candidate]:
        waits = (
            models.Wait.objects.using(self._alias).filter(run=run_id, kind__in=LOOKED_FOR).open()
        )
        if key is not None:
            waits = waits.filter(key=key)
        return audience.read(self._guard, waits.order_by("pk"))

    def shapes(self, name: str) -> Sequence[str]:
        return audience.shapes(self._guard, name)

    def awaited(self, name: str, hashes: Sequence[int]) -> Sequence[int]:
        return audience.awaited(self._guard, name, hashes)

    def candidates(
        self, name: str, hashes: Sequence[int], *, after: int, limit: int
    ) -> Sequence[Candidate]:
        return audience.candidates(self._guard, name, hashes, after=after, limit=limit)

    def resolve(
        self, sequence: int, wait_ids: Sequence[int], *, matched: bool = False
    ) -> Sequence[Nudge]:
        return self._verbs.resolve(sequence, wait_ids, matched=matched)

    def conclude(
        self, wait_ids: Sequence[int], state: WaitState, *, value: str | None = None
    ) -> Sequence[Nudge]:
        # Read before the transaction, whose snapshot must not begin before it has its locks.
        runs = self._guard.read(lambda: portable_waits.runs_of(self._alias, wait_ids))
        if not runs:
            return ()
        return self._guard.transaction(
            lambda: portable_waits.conclude(self._alias, runs, wait_ids, state, value)
        )

    def cancel(self, lease: Lease, keys: Collection[str]) -> None:
        self._guard.transaction(lambda: portable_waits.cancel(self._guard, lease, keys))
