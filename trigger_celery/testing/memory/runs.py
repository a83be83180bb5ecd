"""The runs of the in-memory store, and the workers that own them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from trigger_celery.errors import LeaseLost, RunNotFound
from trigger_celery.testing.memory.history import MemoryHistory
from trigger_celery.testing.memory.rows import LetterState, RunRow
from trigger_celery.testing.memory.slots import Slots
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    Claim,
    Claimed,
    Created,
    Ending,
    Holds,
    Lease,
    ListedRun,
    NewRun,
    Nudge,
    Run,
    RunFilter,
    line_of,
    listed,
)
from trigger_celery.vocabulary.states import TRANSITIONS, RunState, WaitState


class MemoryRuns(MemoryHistory):
    """Implements :class:`trigger_celery.ports.Runs`."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._slots = Slots(core)

    def create(self, runs: Sequence[NewRun]) -> Created:
        """Insert queued runs in the caller's transaction; return the ids that were new."""
        with self._core.lock:
            fresh: set[UUID] = set()
            lines: dict[UUID, str] = {}
            for new in runs:
                if self.get(new.id) is None:
                    run = lifecycle.create(
                        new,
                        self._core.now(),
                        nudge_interval=self._core.nudge_interval,
                        last_event=self._core.last_event(),
                        limited=self._slots.is_limited(new),
                    )
                    fresh.add(run.id)
                    waits = run.due_at is None
                    if waits:
                        lines[run.id] = line_of(run.spec.queue, run.task)
                    self._insert(run, waits=waits)
            return Created(fresh).standing(lines)

    def _insert(self, run: Run, *, waits: bool) -> None:
        def write() -> None:
            if run.id not in self._core.tables.runs:
                self._core.tables.runs[run.id] = RunRow(run=run)
                self._core.note(run, "trigger")
                if waits:
                    self._slots.put_in_line(run)

        if self._core.transactions.open:
            self._core.transactions.open[-1].runs[run.id] = run
        self._core.transactions.write(write)

    def find(
        self, wanted: RunFilter, *, before: UUID | None = None, limit: int
    ) -> Sequence[ListedRun]:
        """Return the runs that were asked for, by id, the greatest first."""
        with self._core.lock:
            dead = {
                letter.run_id
                for letter in self._core.tables.letters.values()
                if letter.state is LetterState.OPEN
            }
            found = [
                row.run
                for row in self._core.tables.runs.values()
                if (before is None or row.run.id < before)
                and _is_wanted(row.run, wanted)
                and (not wanted.dead_letters or row.run.id in dead)
            ]
        found.sort(key=lambda run: run.id, reverse=True)
        return [listed(run) for run in found[:limit]]

    def get(self, run_id: UUID) -> Run | None:
        """Return the run, or None."""
        with self._core.lock:
            row = self._core.tables.runs.get(run_id)
        if row is not None:
            return row.run
        pending = (
            block.runs[run_id] for block in self._core.transactions.open if run_id in block.runs
        )
        return next(pending, None)

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None."""
        with self._core.transactions.own():
            row = self._core.tables.runs.get(claim.run_id)
            if row is None or row.run.task != claim.task:
                return None
            if row.claimed is not None and row.token == claim.token:
                return row.claimed
            run, now = row.run, self._core.now()
            if run.state is RunState.QUEUED and lifecycle.may_start(run, now):
                limited = self._slots.take(run)
                if limited is None:
                    return None
                return self._grant(lifecycle.claim(run, claim, now), claim, now, limited=limited)
            if lifecycle.may_publish(run, now):
                return self._grant(lifecycle.claim_to_publish(run, claim, now), claim, now)
            return None

    def _grant(
        self, run: Run, claim: Claim, now: datetime, *, limited: tuple[str, ...] = ()
    ) -> Claimed:
        self._core.move(run, "publish" if run.state.terminal else "claim", token=claim.token)
        claimed = Claimed(
            run=run,
            lease=Lease(run.id, run.fence, claim.token),
            now=now,
            publishing=run.state.terminal,
            replayed=run.fence > 1,
            limited=limited,
        )
        row = self._core.tables.runs[run.id]
        self._core.tables.runs[run.id] = replace(row, claimed=claimed, length=claim.length)
        return claimed

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        """Extend these leases; return those that hold, each with whether its run is paused."""
        with self._core.transactions.own():
            held = [lease for lease in leases if self._extend(lease)]
            runs = self._core.tables.runs
            return {lease: runs[lease.run_id].run.paused_at is not None for lease in held}

    def _extend(self, lease: Lease) -> bool:
        try:
            row = self._core.held(lease)
        except LeaseLost:
            return False
        self._core.change(replace(row.run, due_at=self._core.now() + row.length))
        return True

    def end(self, lease: Lease, ending: Ending) -> None:
        """End the run: state, output or error, dead letter, history; open waits are canceled."""
        with self._core.transactions.own():
            if self._core.repeated(lease, ending.token) is not None:
                return
            run = self._core.held(lease).run
            self._core.finish(
                lifecycle.end(run, ending, self._core.now()),
                TRANSITIONS[RunState.EXECUTING][ending.state],
                fingerprint=ending.fingerprint,
                token=ending.token,
            )
            if ending.failed is not None:
                self._core.add_failure(run.id, ending.failed)

    def published(self, lease: Lease) -> None:
        """Note that result and callbacks of an ended run are out; silent if the fence moved on."""
        with self._core.transactions.own():
            row = self._core.tables.runs.get(lease.run_id)
            if row is None or row.run.fence != lease.fence:
                return
            if row.run.state.terminal and row.run.published_at is None:
                run = lifecycle.publish(row.run, self._core.now())
                self._core.tables.runs[run.id] = replace(row, run=run, claimed=None)

    def hand_back(self, lease: Lease, token: str) -> Nudge:
        """Queue the run again at once, without a penalty: the worker is shutting down."""
        with self._core.transactions.own():
            written = self._core.repeated(lease, token)
            if written is not None:
                return nudge(written.run)
            return self._core.queue(self._core.held(lease).run, "hand back", token=token)

    def recover(self, run_id: UUID, worker: str) -> Nudge | None:
        """Take the run from a worker that is known to have died, as an expired lease would be."""
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None or row.run.worker != worker:
                return None
            if row.run.state is RunState.EXECUTING:
                return self._core.crash(row.run)
            if not row.run.state.terminal or row.run.published_at is not None:
                return None
            now, patience = self._core.now(), self._core.nudge_interval
            after = lifecycle.hand_over_publishing(row.run, now, nudge_interval=patience)
            return nudge(self._core.change(after))

    def cancel(
        self, run_id: UUID, error: str, details: Mapping[str, str] | None = None
    ) -> Nudge | None:
        """Cancel the run unless it has ended; its waits too. The nudge publishes the end."""
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None or row.run.state.terminal:
                return None
            run = lifecycle.cancel(row.run, self._core.now(), error=error)
            return self._core.finish(run, "cancel", **details or {})

    def retry(self, run_id: UUID, details: Mapping[str, str] | None = None) -> Nudge:
        """Queue a failed or timed-out run again with its checkpoints; its dead letter is retried.

        Raises ``RunNotFound`` or ``IllegalTransition``.
        """
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None:
                raise RunNotFound(f"no run has the id {run_id}")
            now, patience = self._core.now(), self._core.nudge_interval
            run = lifecycle.retry(row.run, now, nudge_interval=patience)
            details = {**(details or {}), **self._forgotten(row.run)}
            self._forget_the_end(run_id)
            return nudge(self._core.move(run, "retry", **details))

    def _forgotten(self, run: Run) -> dict[str, str]:
        """Return which steps a retry tries again, for the history."""
        tries = [
            row.failed for row in self._core.tables.failures if row.run_id == run.id and row.counted
        ]
        last = [
            each
            for each in tries
            if each.holds is Holds.LIFE
            or (each.holds is Holds.ATTEMPT and each.run_attempt == run.attempt)
        ]
        keys = [each.key for each in sorted(last, key=lambda each: each.position)]
        return {"forgets": ", ".join(dict.fromkeys(keys))} if keys else {}

    def _forget_the_end(self, run_id: UUID) -> None:
        tables = self._core.tables
        for wait in list(self._core.waits_of(run_id)):
            if wait.state is WaitState.CANCELED:
                del tables.waits[wait.id]
        tables.failures = [
            replace(row, counted=False) if row.run_id == run_id else row for row in tables.failures
        ]
        tables.letters[run_id] = replace(tables.letters[run_id], state=LetterState.RETRIED)


def _is_wanted(run: Run, wanted: RunFilter) -> bool:
    return (
        (not wanted.tasks or run.task in wanted.tasks)
        and (not wanted.states or run.state in wanted.states)
        and (not wanted.queue or run.spec.queue == wanted.queue)
        and set(wanted.tags) <= set(run.spec.tags)
        and wanted.parent_id in (None, run.spec.parent_id)
        and (wanted.since is None or run.created_at >= wanted.since)
        and (wanted.until is None or run.created_at < wanted.until)
    )
