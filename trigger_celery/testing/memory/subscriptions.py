"""The subscriptions of the in-memory store."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import Subscription


class MemorySubscriptions:
    """Implements :class:`trigger_celery.ports.Subscriptions`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_task: dict[str, Subscription] = {}

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        """Keep what is wanted and drop those of the retired tasks; return how many changed."""
        with self._core.transactions.own():
            gone = [task for task in retired if self._by_task.pop(task, None)]
            fresh = [each for each in wanted if self._by_task.get(each.task) != each]
            self._by_task.update((each.task, each) for each in fresh)
            return len(gone) + len(fresh)

    def of(self, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
        """Return subscriptions to this event name of tasks after ``after``, by task."""
        with self._core.lock:
            found = [each for _, each in sorted(self._by_task.items())]
            return tuple(each for each in found if each.name == name and each.task > after)[:limit]
