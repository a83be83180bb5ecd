"""Records of what started a run, where that was not a plain call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSchedule:
    """A nominal time of a schedule, the one before that started a run, and the next few."""

    schedule: str
    nominal_at: datetime
    last_at: datetime | None
    upcoming: tuple[datetime, ...]
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FromEvent:
    """An event that the task subscribes to."""

    event: str
    name: str
    source: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPerson:
    """A rerun or fork (at ``step``) of another run, or a start over HTTP or in the admin."""

    kind: str
    step: str = ""
    by: str = ""
    reason: str = ""


Origin: TypeAlias = FromSchedule | FromEvent | FromPerson
