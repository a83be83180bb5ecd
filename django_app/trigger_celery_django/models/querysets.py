"""The questions that are asked of the tables, by name."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from trigger_celery.vocabulary.records import Lease, RunFilter
from trigger_celery.vocabulary.states import TERMINAL, RunState, WaitState

T = TypeVar("T", bound=Model, covariant=True)

UNPUBLISHED = Q(state__in=sorted(TERMINAL), published_at=None)
"""Of a run: it has ended and its callbacks are owed."""


class RunQuerySet(QuerySet[T]):
    """Runs."""

    def held(self, lease: Lease) -> RunQuerySet[T]:
        """The run, if it is executing under exactly this lease."""
        return self.filter(
            pk=lease.run_id, fence=lease.fence, token=lease.token, state=RunState.EXECUTING
        )

    def unpublished(self) -> RunQuerySet[T]:
        """Runs that have ended and whose callbacks are owed."""
        return self.filter(UNPUBLISHED)

    def wanted(self, by: RunFilter) -> RunQuerySet[T]:
        """The runs that a list asks for."""
        exact: dict[str, object] = {
            "queue": by.queue,
            "parent": by.parent_id,
            "created_at__gte": by.since,
        }
        exact |= {"created_at__lt": by.until, "task__in": by.tasks, "state__in": by.states}
        runs = self.filter(**{name: value for name, value in exact.items() if value})
        for tag in by.tags:
            runs = runs.filter(tag_rows__tag=tag)
        return runs.filter(dead_letter__state="open") if by.dead_letters else runs


class WaitQuerySet(QuerySet[T]):
    """Waits."""

    def open(self) -> WaitQuerySet[T]:
        """Waits without an outcome."""
        return self.filter(state=WaitState.WAITING)


class DeadLetterQuerySet(QuerySet[T]):
    """Dead letters."""

    def open(self) -> DeadLetterQuerySet[T]:
        """Dead letters that wait for a person."""
        return self.filter(state="open")
