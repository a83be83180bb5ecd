"""The questions that are asked of the tables, by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import CharField, Model, Q, QuerySet, Value
from django.db.models.functions import Cast, Replace

from trigger_celery.vocabulary.records import (
    DeadLetterFilter,
    DeadLetterPosition,
    Lease,
    ListPosition,
    RunFilter,
)
from trigger_celery.vocabulary.states import TERMINAL, RunState, WaitState

T = TypeVar("T", bound=Model, covariant=True)

UNPUBLISHED = Q(state__in=sorted(TERMINAL), published_at=None)
"""Of a run: it has ended and its callbacks are owed."""
LISTED = Q(created_at__gt=datetime(1970, 1, 1, tzinfo=UTC))
"""Of a run: lists alone ask so, and their indexes have no other runs. Statistics that are old draw
no other statement to them."""


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
            "pk__in": by.ids,
            "task__in": by.tasks,
            "state__in": by.states,
            "queue": by.queue,
            "schedule": by.schedule,
            "parent": by.parent_id,
            "created_at__gte": by.since,
            "created_at__lt": by.until,
        }
        runs = self.filter(LISTED, **{name: value for name, value in exact.items() if value})
        if by.root_id is not None:
            runs = runs.filter(Q(root=by.root_id) | Q(pk=by.root_id))
        if by.error:
            runs = runs.filter(dead_letter__fingerprint=by.error, error__isnull=False)
        for tag in by.tags:
            runs = runs.filter(tag_rows__tag=tag)
        return runs.filter(dead_letter__state="open") if by.dead_letters else runs

    def beginning_with(self, digits: str, *, in_order: bool) -> RunQuerySet[T]:
        """Those whose ids begin with these digits, in order. ``in_order`` says that ids sort so.

        MariaDB's own type of UUIDs does not, so there each id is looked at.
        """
        if in_order:
            first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
            return self.filter(pk__range=(first, last)).order_by("pk")
        text = Replace(Cast("pk", CharField(max_length=36)), Value("-"), Value(""))
        runs: Any = self.alias(digits=text).filter(digits__startswith=digits)
        found: RunQuerySet[T] = runs.order_by("digits")
        return found

    def newest_first(self, after: ListPosition | None) -> RunQuerySet[T]:
        """The runs behind a position of a list, in the order of lists."""
        runs = self.order_by("-created_at", "-pk")
        if after is None:
            return runs
        same_time = Q(created_at=after.created_at, pk__lt=after.id)
        # The first condition follows from the second, and an index can be read by it.
        return runs.filter(
            Q(created_at__lt=after.created_at) | same_time, created_at__lte=after.created_at
        )


class WaitQuerySet(QuerySet[T]):
    """Waits."""

    def open(self) -> WaitQuerySet[T]:
        """Waits without an outcome."""
        return self.filter(state=WaitState.WAITING)


class DeadLetterQuerySet(QuerySet[T]):
    """Dead letters."""

    def wanted(self, by: DeadLetterFilter, state: str) -> DeadLetterQuerySet[T]:
        """Those of one state that a list asks for."""
        exact: dict[str, object] = {
            "state": state,
            "task__in": by.tasks,
            "queue": by.queue,
            "fingerprint": by.group,
            "kind__in": by.kinds,
            "last_seen_at__gte": by.since,
            "last_seen_at__lt": by.until,
        }
        found = self.filter(**{name: value for name, value in exact.items() if value})
        if by.returns_below is not None:
            found = found.filter(returns__lt=by.returns_below)
        for tag in by.tags:
            found = found.filter(run__tag_rows__tag=tag)
        return found

    def last_seen_first(self, after: DeadLetterPosition | None) -> DeadLetterQuerySet[T]:
        """Those behind a position of a list, in the order of lists."""
        found = self.order_by("-last_seen_at", "-pk")
        if after is None:
            return found
        same_time = Q(last_seen_at=after.last_seen_at, pk__lt=after.run_id)
        # The first condition follows from the second, and an index can be read by it.
        return found.filter(
            Q(last_seen_at__lt=after.last_seen_at) | same_time,
            last_seen_at__lte=after.last_seen_at,
        )
