"""The tasks that events start."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trigger_celery.vocabulary.records import Subscription
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import check_length
from trigger_celery_django.store.common.times import DatabaseNow
from trigger_celery_django.store.portable import audience


class DjangoSubscriptions:
    """Implements :class:`trigger_celery.ports.Subscriptions`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        """Keep what is wanted and drop those of the retired tasks; return how many changed."""
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
        """Return subscriptions to this event name of tasks after ``after``, by task."""
        return audience.subscriptions(self._guard, name, after=after, limit=limit)


def _record(row: models.Subscription) -> Subscription:
    return Subscription(task=row.task, name=row.name, filter=row.filter)
