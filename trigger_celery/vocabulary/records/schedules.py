"""Records of what starts tasks by itself: schedules, and subscriptions to events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from trigger_celery.vocabulary.records.runs import NewRun


class Overlap(StrEnum):
    """What happens at a nominal time while the run before has not ended."""

    ALLOW = "allow"
    """Another run starts beside it."""
    SKIP = "skip"
    """This nominal time is left out."""
    BUFFER = "buffer"
    """One run starts as soon as that one has ended; further nominal times are left out."""
    CANCEL = "cancel"
    """That run is canceled and another starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is stored.

    The rule is either ``cron`` (an expression, read in ``timezone``) or ``every``. ``input``
    is that of its runs. ``next_at``, ``last_at`` and ``buffered_at`` are nominal times: the
    next, the one of the last run ``last_run_id``, and the one that waits for that run to
    end. ``due_at`` is when the sweep must look at it, None while it is paused. ``catch_up``
    is how late a nominal time may still start a run.
    """

    id: UUID
    task: str
    key: str
    declared: bool = False
    cron: str = ""
    every: timedelta | None = None
    timezone: str = "UTC"
    input: str = ""
    overlap: Overlap = Overlap.SKIP
    catch_up: timedelta = timedelta(0)
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_run_id: UUID | None = None
    buffered_at: datetime | None = None
    paused_at: datetime | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChange:
    """What a schedule becomes, and the runs that are created with it.

    ``lines`` names, of a change that was made, the queues of those runs that stand in line,
    as :class:`~trigger_celery.vocabulary.records.Created` does.
    """

    schedule: Schedule
    runs: tuple[NewRun, ...] = ()
    lines: Mapping[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Each event called ``name`` that passes ``filter`` starts one run of ``task``."""

    task: str
    name: str
    filter: str
