"""The tasks that events start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from trigger_celery.vocabulary.records import Subscription


class Subscriptions(Protocol):
    """The tasks that events start; a task has one subscription at most."""

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        """Keep what is wanted and drop those of the retired tasks; return how many changed.

        Subscriptions of all other tasks are left alone.
        """

    def of(self, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
        """Return subscriptions to this event name of tasks after ``after``, by task."""
