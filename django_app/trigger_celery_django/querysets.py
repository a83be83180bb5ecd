"""The questions that are asked of the tables, by name."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q, QuerySet

from trigger_celery.states import TERMINAL, RunState, WaitState

if TYPE_CHECKING:
    # ruff does not look for names in the brackets of a base class.
    from trigger_celery_django.models import DeadLetter, Event, Run, Wait  # noqa: F401

UNPUBLISHED = Q(state__in=sorted(TERMINAL), published_at=None)
"""Of a run: it has ended and its callbacks are owed."""


class RunQuerySet(QuerySet["Run", "Run"]):
    """Runs."""

    def held(self, run_id: UUID, fence: int) -> RunQuerySet:
        """The run, if it is executing under exactly this fence."""
        return self.filter(pk=run_id, fence=fence, state=RunState.EXECUTING)

    def alive(self) -> RunQuerySet:
        """Runs that have not ended."""
        return self.exclude(state__in=sorted(TERMINAL))

    def unpublished(self) -> RunQuerySet:
        """Runs that have ended and whose callbacks are owed."""
        return self.filter(UNPUBLISHED)


class WaitQuerySet(QuerySet["Wait", "Wait"]):
    """Waits."""

    def open(self) -> WaitQuerySet:
        """Waits without an outcome."""
        return self.filter(state=WaitState.WAITING)


class EventQuerySet(QuerySet["Event", "Event"]):
    """Events."""

    def since(self, moment: datetime) -> EventQuerySet:
        """Events that were received, or committed, at that time or later."""
        return self.filter(Q(matched_at=None) | Q(matched_at__gte=moment))


class DeadLetterQuerySet(QuerySet["DeadLetter", "DeadLetter"]):
    """Dead letters."""

    def open(self) -> DeadLetterQuerySet:
        """Dead letters that wait for a person."""
        return self.filter(state="open")
