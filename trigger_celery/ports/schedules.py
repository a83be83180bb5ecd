"""What starts tasks by itself: schedules, and events that they subscribe to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from trigger_celery.vocabulary.records import Schedule, ScheduleChange, Subscription
from trigger_celery.vocabulary.states import RunState

Decide: TypeAlias = Callable[[Schedule, RunState | None, datetime], ScheduleChange | None]
"""From a locked schedule, the state of its last run (None without one) and the time now: the
change to make, None for none. It decides only, as it may be called again."""


class Schedules(Protocol):
    """Schedules, by their keys. All verbs but :meth:`due` work *in the caller's transaction*."""

    def add(self, schedule: Schedule) -> bool:
        """Store a new schedule; False, and nothing is written, if its key is taken."""

    def get(self, key: str) -> Schedule | None:
        """Return the schedule, or None."""

    def all(self) -> Sequence[Schedule]:
        """Return all schedules, by key."""

    def change(self, key: str, decide: Decide) -> ScheduleChange | None:
        """Lock the schedule and make the change, with its runs, that ``decide`` returns.

        A run whose id exists already is left alone. Returns the change with the runs that
        were new and the ``lines`` of those that stand in line; None if there is no such
        schedule, or nothing to change.
        """

    def remove(self, key: str) -> bool:
        """Delete the schedule; its runs stay. False if there was none."""

    def due(self, *, limit: int) -> Sequence[Schedule]:
        """Return schedules whose ``due_at`` has come, first the one that is due longest."""


class Subscriptions(Protocol):
    """The tasks that events start; a task has one subscription at most."""

    def sync(self, wanted: Sequence[Subscription], retired: Collection[str]) -> int:
        """Keep what is wanted and drop those of the retired tasks; return how many changed.

        Subscriptions of all other tasks are left alone.
        """

    def of(self, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
        """Return subscriptions to this event name of tasks after ``after``, by task."""
