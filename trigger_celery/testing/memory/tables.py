"""The core of the in-memory store: its rows behind one lock, and what several verbs write."""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from threading import RLock
from typing import Any, TypeAlias
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.memory.transactions import Transactions
from trigger_celery.values.failures import crashed
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    NO_CAUSE,
    BulkOperation,
    Cause,
    Checkpoint,
    Claimed,
    Counted,
    DeadLetter,
    DeadLetterGroup,
    FailedAttempt,
    HistoryEntry,
    Lease,
    ListedEvent,
    NewWait,
    Nudge,
    Run,
    Standing,
    StoredQueue,
    TaskVersion,
)
from trigger_celery.vocabulary.states import (
    UNSUCCESSFUL,
    DeadLetterState,
    RunState,
    WaitState,
    check_transition,
)


@dataclass(frozen=True, slots=True, order=True)
class LinePlace:
    """A place in line: by time, then by the order of joining."""

    at: datetime
    number: int
    run_id: UUID


Kind: TypeAlias = tuple[str, bool]
"""What limits distinguish among runs of one key: the task, and whether it is a first start."""
Look: TypeAlias = Callable[[UUID], "tuple[Run | None, bool]"]
"""Returns a run that waits for a slot, None if it does not, and whether it may start now."""


@dataclass(slots=True)
class _Line:
    """One line: its places in their order, those of each key and kind by themselves."""

    keys: list[str] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    places: dict[str, dict[Kind, list[LinePlace]]] = field(default_factory=dict)

    def add(self, key: str, kind: Kind, place: LinePlace) -> None:
        if key not in self.places:
            self.places[key] = {}
            insort(self.keys, key)
        self.tasks.add(kind[0])
        insort(self.places[key].setdefault(kind, []), place)

    def drop(self, key: str, kind: Kind) -> None:
        kinds = self.places[key]
        kinds.pop(kind, None)
        if not kinds:
            del self.places[key]
            self.keys.remove(key)


class QueueLines:
    """The lines by queue.

    Of each kind the first is the only run that an admission has to ask for: where it gets no
    slot, those behind it get none. ``taken`` are the runs that hold a slot or were promised
    one, and some that did.
    """

    def __init__(self) -> None:
        self.taken: dict[UUID, None] = {}
        self._numbers = count()
        self._places: dict[UUID, LinePlace] = {}
        self._lines: dict[str, _Line] = {}

    def names(self) -> list[str]:
        """Return the queues that runs have stood in line for, by name."""
        return sorted(self._lines)

    def keys(self, queue: str, *, after: str = "") -> list[str]:
        """Return the keys of a line in their order, beginning after one of them."""
        line = self._lines.get(queue, _Line())
        begin = bisect_right(line.keys, after)
        return line.keys[begin:] + line.keys[:begin]

    def tasks(self, queue: str) -> set[str]:
        """Return the tasks whose runs have stood in a line."""
        return self._lines.get(queue, _Line()).tasks

    def join(self, run: Run, asks: Standing) -> None:
        """Put a run in line; one that waits already keeps its place."""
        self.taken.pop(run.id, None)
        known = self._places.get(run.id)
        if known is not None and known.at == run.line_at:
            return
        place = self._places[run.id] = LinePlace(run.line_at, next(self._numbers), run.id)
        line = self._lines.setdefault(asks.queue, _Line())
        line.add(asks.key, (asks.task, asks.starts), place)

    def leave(self, run_id: UUID) -> None:
        """Note that a run waits no more: it has a slot, or the promise of one."""
        self._places.pop(run_id, None)
        self.taken[run_id] = None

    def forget(self, run_id: UUID) -> None:
        """Note that a run has nothing to do with slots any more."""
        self._places.pop(run_id, None)
        self.taken.pop(run_id, None)

    def first(self, queue: str, key: str, look: Look) -> list[Run]:
        """Return the first run of each kind of a key that may start, by their places."""
        line = self._lines.get(queue)
        if line is None or key not in line.places:
            return []
        found = []
        for kind, places in list(line.places[key].items()):
            head = self._head(places, look)
            if head is not None:
                found.append(head)
            elif not places:
                line.drop(key, kind)
        if not line.keys:
            del self._lines[queue]
        return [run for _, run in sorted(found)]

    def _head(self, places: list[LinePlace], look: Look) -> tuple[LinePlace, Run] | None:
        index = 0
        while index < len(places):
            place = places[index]
            run, may_start = look(place.run_id)
            if run is None or self._places.get(place.run_id) is not place:
                del places[index]
            elif run.line_at != place.at:  # it was put off in line
                del places[index]
                moved = self._places[run.id] = LinePlace(run.line_at, place.number, run.id)
                insort(places, moved)
            elif may_start:
                return place, run
            else:
                index += 1
        return None


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
    what it was completed with.
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
    events: dict[int, ListedEvent] = field(default_factory=dict)
    history: dict[UUID, list[HistoryEntry]] = field(default_factory=dict)
    dead_letters: dict[UUID, DeadLetter] = field(default_factory=dict)
    counted: dict[UUID, Counted] = field(default_factory=dict)
    groups: dict[str, DeadLetterGroup] = field(default_factory=dict)
    versions: dict[str, TaskVersion] = field(default_factory=dict)
    queues: dict[str, StoredQueue] = field(default_factory=dict)
    last_keys: dict[str, str] = field(default_factory=dict)
    rates: dict[tuple[str, str], datetime] = field(default_factory=dict)
    slots: dict[UUID, SlotRow] = field(default_factory=dict)
    bulk_operations: dict[UUID, BulkOperation] = field(default_factory=dict)
    last_sequence: int = 0
    turn: tuple[str, datetime] | None = None


class Core:
    """The tables, their lock, and the writes that several verbs share.

    Its methods expect the caller to hold ``lock``.
    """

    def __init__(self, clock: ManualClock, nudge_interval: timedelta) -> None:
        self.clock = clock
        self.nudge_interval = nudge_interval
        self.lock = RLock()
        self.transactions = Transactions(self.lock)
        self.tables = Tables()
        self.lines = QueueLines()

    def now(self) -> datetime:
        """Return the time of this database."""
        return self.clock.now

    def last_event(self) -> int:
        """Return the highest sequence of the events that this thread's transaction sees."""
        pending = (
            event.sequence for block in self.transactions.open for event in block.events.values()
        )
        return max([*self.tables.events, *pending], default=0)

    def held(self, lease: Lease) -> RunRow:
        """Return the run executing under this lease, or raise :exc:`LeaseLost`."""
        row = self.tables.runs.get(lease.run_id)
        found = None if row is None else (row.run.state, row.run.fence, row.token)
        if row is None or found != (RunState.EXECUTING, lease.fence, lease.token):
            raise LeaseLost(f"run {lease.run_id} is no longer executing under fence {lease.fence}")
        return row

    def repeated(self, lease: Lease, token: str) -> RunRow | None:
        """Return the run if the last write of this lease bears this token: a repeat."""
        row = self.tables.runs.get(lease.run_id)
        if row is None or row.token != token or row.run.fence != lease.fence:
            return None
        return row

    def move(self, run: Run, verb: str, *, token: str | None = None, **data: object) -> Run:
        """Store the changed run and note it in its history; raises ``IllegalTransition``."""
        row = self.tables.runs[run.id]
        if run.state is not row.run.state:
            check_transition(row.run.state, run.state)
        token = row.token if token is None else token
        self.tables.runs[run.id] = replace(row, run=run, token=token, claimed=None)
        self.note(run, verb, **data)
        return run

    def note(self, run: Run, verb: str, **data: object) -> None:
        """Append to the run's history."""
        entries = self.tables.history.setdefault(run.id, [])
        entries.append(
            HistoryEntry(
                run_id=run.id,
                sequence=len(entries) + 1,
                at=self.now(),
                verb=verb,
                state=run.state,
                fence=run.fence,
                worker=run.worker,
                data=json.dumps(data),
            )
        )

    def queue(self, run: Run, verb: str, *, token: str | None = None, **data: object) -> Nudge:
        """Make the run claimable at once."""
        queued = lifecycle.queue(run, self.now(), nudge_interval=self.nudge_interval)
        return nudge(self.move(queued, verb, token=token, **data))

    def change(self, run: Run) -> Run:
        """Store the changed run without a word in its history."""
        self.tables.runs[run.id] = replace(self.tables.runs[run.id], run=run)
        return run

    def crash(self, run: Run) -> Nudge:
        """Queue the run that lost its worker, or end it as crashed."""
        after, ended = lifecycle.crash(
            run, self.now(), nudge_interval=self.nudge_interval, give_up=crashed
        )
        details: dict[str, Any] = {"worker": run.worker, "crashes": after.crashes}
        if ended is None:
            return nudge(self.move(after, "recover", **details))
        return self.finish(after, ended.verb, cause=ended.cause, **details)

    def finish(
        self,
        run: Run,
        verb: str,
        *,
        cause: Cause = NO_CAUSE,
        token: str | None = None,
        **data: object,
    ) -> Nudge:
        """Store an ended run, cancel its open waits, open its dead letter."""
        self.move(run, verb, token=token, **data)
        for wait in self.open_waits(run.id):
            self.tables.waits[wait.id] = replace(wait, state=WaitState.CANCELED)
        if run.state in UNSUCCESSFUL:
            self._open_dead_letter(run, cause)
        return nudge(run)

    def _open_dead_letter(self, run: Run, cause: Cause) -> None:
        before, now = self.tables.dead_letters.get(run.id), self.now()
        self.tables.dead_letters[run.id] = DeadLetter(
            run_id=run.id,
            task=run.task,
            queue=run.spec.queue,
            state=DeadLetterState.OPEN,
            cause=cause,
            error=run.error or "",
            attempts=run.attempt,
            crashes=run.crashes,
            returns=0 if before is None else before.returns + 1,
            first_seen_at=now if before is None else before.first_seen_at,
            last_seen_at=now,
        )

    def settle(
        self, run_id: UUID, state: DeadLetterState, details: Mapping[str, str] | None = None
    ) -> None:
        """Note that the dead letter of a run does not wait for a person any more."""
        by, reason = ((details or {}).get(name, "") for name in ("by", "reason"))
        self.tables.dead_letters[run_id] = replace(
            self.tables.dead_letters[run_id],
            state=state,
            settled_at=self.now(),
            by=by,
            reason=reason,
        )

    def resolve(self, run_ids: Iterable[UUID]) -> None:
        """Resolve those dead letters of these runs that were retried."""
        for run_id in run_ids:
            found = self.tables.dead_letters.get(run_id)
            if found is not None and found.state is DeadLetterState.RETRIED:
                self.tables.dead_letters[run_id] = replace(
                    found, state=DeadLetterState.RESOLVED, settled_at=self.now()
                )

    def waits_of(self, run_id: UUID) -> Iterator[WaitRow]:
        """Return all waits of a run, by id."""
        return (row for _, row in sorted(self.tables.waits.items()) if row.run_id == run_id)

    def open_waits(self, run_id: UUID) -> list[WaitRow]:
        """Return the waits of a run that have no outcome yet, by id."""
        return [row for row in self.waits_of(run_id) if row.state is WaitState.WAITING]

    def first_due(self, run_id: UUID) -> datetime | None:
        """Return when the first open wait of a run is due."""
        deadlines = (row.due_at for row in self.open_waits(run_id))
        return min((due_at for due_at in deadlines if due_at is not None), default=None)

    def add_failure(self, run_id: UUID, failed: FailedAttempt) -> None:
        """Store a failed attempt, once."""
        row = FailureRow(run_id=run_id, failed=failed)
        mark = (failed.key, failed.run_attempt, failed.number)
        for other in self.tables.failures:
            made = (other.failed.key, other.failed.run_attempt, other.failed.number)
            if other.run_id == run_id and other.counted and made == mark:
                return
        self.tables.failures.append(row)


def nudge(run: Run) -> Nudge:
    """Return the hint that this run may be claimed."""
    return Nudge(run_id=run.id, task=run.task, canvas=run.spec.canvas)
