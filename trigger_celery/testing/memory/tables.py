"""The core of the in-memory store: its tables behind one lock, and what several verbs write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from threading import RLock
from typing import Any
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.memory.lines import Lines
from trigger_celery.testing.memory.rows import (
    DeadLetter,
    FailureRow,
    LetterState,
    RunRow,
    Tables,
    WaitRow,
)
from trigger_celery.testing.memory.transactions import Transactions
from trigger_celery.values.forced_ends import crashed
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import FailedAttempt, HistoryEntry, Lease, Nudge, Run
from trigger_celery.vocabulary.states import UNSUCCESSFUL, RunState, WaitState, check_transition


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
        self.lines = Lines()

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
        return self.finish(after, ended.verb, fingerprint=ended.fingerprint, **details)

    def finish(
        self,
        run: Run,
        verb: str,
        *,
        fingerprint: str = "",
        token: str | None = None,
        **data: object,
    ) -> Nudge:
        """Store an ended run, cancel its open waits, open its dead letter."""
        self.move(run, verb, token=token, **data)
        for wait in self.open_waits(run.id):
            self.tables.waits[wait.id] = replace(wait, state=WaitState.CANCELED)
        if run.state in UNSUCCESSFUL:
            self.tables.letters[run.id] = DeadLetter(
                run_id=run.id,
                state=LetterState.OPEN,
                fingerprint=fingerprint,
                error=run.error,
                created_at=self.now(),
            )
        return nudge(run)

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
