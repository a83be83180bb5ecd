"""What the in-memory store keeps: frozen rows in dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from trigger_celery.vocabulary.records import (
    Checkpoint,
    Claimed,
    Event,
    FailedAttempt,
    HistoryEntry,
    NewWait,
    Run,
    StoredQueue,
    TaskVersion,
)
from trigger_celery.vocabulary.states import WaitState


class LetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run and what only its store knows of it.

    ``token`` marks the last write of a lease's holder, ``length`` is the lease's;
    ``claimed`` is the answer that a repeated claim gets again.
    """

    run: Run
    token: str = ""
    length: timedelta = timedelta(0)
    claimed: Claimed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """A failed attempt; ``counted`` until a retry of the run makes it past."""

    run_id: UUID
    failed: FailedAttempt
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitRow:
    """A wait, its deadline and its outcome.

    ``looked`` is false while no look was taken whether it was over before it began; ``value`` is
    what whoever completed it gave.
    """

    id: int
    run_id: UUID
    wait: NewWait
    state: WaitState
    due_at: datetime | None
    looked: bool
    event: int | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event; ``matched_at`` is when all waits open by then were compared with it."""

    event: Event
    matched_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A run that failed for good and waits for a person; a later failure opens it again."""

    run_id: UUID
    state: LetterState
    fingerprint: str
    error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRow:
    """The slot that a run holds, or its place in line for one.

    A slot counts while its run executes under ``fence``; in line ``fence`` is None, and
    ``promised_at`` is when the run got the promise of a slot.
    """

    run_id: UUID
    fence: int | None = None
    promised_at: datetime | None = None
    since: datetime


@dataclass(slots=True)
class Tables:
    """All rows, by their keys."""

    runs: dict[UUID, RunRow] = field(default_factory=dict)
    checkpoints: dict[UUID, dict[str, Checkpoint]] = field(default_factory=dict)
    failures: list[FailureRow] = field(default_factory=list)
    waits: dict[int, WaitRow] = field(default_factory=dict)
    shapes: dict[str, set[str]] = field(default_factory=dict)
    events: dict[int, EventRow] = field(default_factory=dict)
    history: dict[UUID, list[HistoryEntry]] = field(default_factory=dict)
    letters: dict[UUID, DeadLetter] = field(default_factory=dict)
    versions: dict[str, TaskVersion] = field(default_factory=dict)
    queues: dict[str, StoredQueue] = field(default_factory=dict)
    last_keys: dict[str, str] = field(default_factory=dict)
    rates: dict[tuple[str, str], datetime] = field(default_factory=dict)
    slots: dict[UUID, SlotRow] = field(default_factory=dict)
    last_sequence: int = 0
