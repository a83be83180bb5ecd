"""Events, and the tasks that they start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.db.models import Exists, OuterRef

from trigger_celery.vocabulary.records import (
    Audience,
    EventFilter,
    ListedEvent,
    NewEvent,
    StoredEvent,
    Subscription,
)
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import (
    DatabaseNow,
    check_length,
    event_record,
    read_now,
)
from trigger_celery_django.store.databases import DatabaseVerbs
from trigger_celery_django.store.portable import events


class DjangoEvents:
    """Implements :class:`trigger_celery.ports.Events`."""

    def __init__(self, guard: Guard, verbs: DatabaseVerbs) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._verbs = verbs

    def add(self, event: NewEvent) -> StoredEvent | None:
        check_length("event id", event.id)
        check_length("event name", event.name)
        check_length("event source", event.source)
        inserted = self._guard.joining(lambda: self._verbs.add_event(event))
        if inserted is None:
            return None
        sequence, received_at = inserted
        return StoredEvent(
            sequence=sequence,
            id=event.id,
            name=event.name,
            payload=event.payload,
            received_at=received_at,
            source=event.source,
        )

    def get(self, id: str, *, source: str) -> StoredEvent | None:
        events = models.Event.objects.using(self._alias).filter(source=source, event_id=id)
        row = self._guard.joining(lambda: events.first())
        connection = self._guard.connection
        if row is None and connection.vendor == "mysql" and connection.in_atomic_block:
            # It may be younger than what a repeatable read sees; a locking one sees it.
            row = self._guard.joining(lambda: events.select_for_update().first())
        return None if row is None else event_record(row)

    def audience(self, name: str, hashes: Sequence[int], *, before: int, limit: int) -> Audience:
        return self._verbs.audience(name, hashes, before=before, limit=limit)

    def ahead(self, name: str, *, before: int, after: int, limit: int) -> Sequence[StoredEvent]:
        events = models.Event.objects.using(self._alias).filter(
            name=name, matched_at=None, sequence__gt=after, sequence__lt=before
        )
        rows = self._guard.read(lambda: list(events.order_by("sequence")[:limit]))
        return [event_record(row) for row in rows]

    def find(
        self, wanted: EventFilter, *, before: int | None = None, limit: int
    ) -> Sequence[ListedEvent]:
        events = models.Event.objects.using(self._alias).order_by("-sequence")
        if wanted.name:
            events = events.filter(name=wanted.name)
        if wanted.source is not None:
            events = events.filter(source=wanted.source)
        if wanted.unmatched:
            events = events.filter(matched_at=None)
        if before is not None:
            events = events.filter(sequence__lt=before)
        rows = self._guard.read(lambda: list(events[:limit]))
        return [ListedEvent(event=event_record(row), matched_at=row.matched_at) for row in rows]

    def matched(self, sequence: int) -> None:
        self._verbs.matched(sequence)

    def unmatched(self, *, older_than: timedelta, after: int, limit: int) -> Sequence[StoredEvent]:
        events = models.Event.objects.using(self._alias).filter(
            matched_at=None, received_at__lte=DatabaseNow() - older_than, sequence__gt=after
        )
        rows = self._guard.read(lambda: list(events.order_by("sequence")[:limit]))
        return [event_record(row) for row in rows]

    def purge(self, *, older_than: timedelta, after: int, limit: int) -> int:
        events = models.Event.objects.using(self._alias)
        now = self._guard.read(lambda: read_now(self._guard.connection))
        latest = now - older_than
        # By sequence, which is nearly the order of time: it needs no index of its own, and
        # what has to stay is stepped over once a round.
        seen = events.filter(pk__gt=after).order_by("pk").values_list("pk", "received_at")
        rows = self._guard.read(lambda: list(seen[:limit]))
        old = [sequence for sequence, received_at in rows if received_at <= latest]
        if old:
            rows_of = events.filter(pk__in=old, matched_at__lte=latest)
            needless = rows_of.exclude(Exists(models.Wait.objects.filter(event=OuterRef("pk"))))
            # Not delete(): that would read all rows, to look for what refers to them.
            self._guard.transaction(lambda: needless._raw_delete(self._alias))
        return old[-1] if len(old) == limit else 0


class DjangoSubscriptions:
    """Implements :class:`trigger_celery.ports.Subscriptions`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        for each in wanted:
            check_length("task", each.task)
            check_length("event name", each.name)
        rows = models.Subscription.objects.using(self._alias)
        # One short table: a query of it all needs no list of tasks, and nearly always suffices.
        stored = {row.task: _record(row) for row in self._guard.read(lambda: list(rows.all()))}
        fresh = [each for each in wanted if stored.get(each.task) != each]
        gone = sorted(stored.keys() & set(retired))
        if fresh or gone:
            self._guard.transaction(lambda: self._change(fresh, gone))
        return len(fresh) + len(gone)

    def _change(self, fresh: Sequence[Subscription], gone: Sequence[str]) -> None:
        rows = models.Subscription.objects.using(self._alias)
        rows.filter(task__in=gone).delete()
        for each in fresh:
            rows.update_or_create(
                task=each.task,
                defaults={"name": each.name, "filter": each.filter},
                create_defaults={
                    "name": each.name,
                    "filter": each.filter,
                    "created_at": DatabaseNow(),
                },
            )

    def of(self, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
        return events.subscriptions(self._guard, name, after=after, limit=limit)


def _record(row: models.Subscription) -> Subscription:
    return Subscription(task=row.task, name=row.name, filter=row.filter)
