"""The runs of the in-memory store: their owners, what they recorded and started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import UUID

from trigger_celery.client.runs import stored_fields
from trigger_celery.errors import LeaseLost, RunNotFound
from trigger_celery.testing.memory.slots import Slots
from trigger_celery.testing.memory.tables import (
    Core,
    FailureRow,
    RunRow,
    WaitRow,
    nudge,
)
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    Checkpoint,
    ChildEnd,
    Claim,
    Claimed,
    Created,
    DeadLetter,
    Ending,
    FailedAttempt,
    HistoryEntry,
    Holds,
    Lease,
    ListedRun,
    ListPosition,
    NewRun,
    Nudge,
    Outcome,
    Outcomes,
    Run,
    RunFilter,
    line_of,
)
from trigger_celery.vocabulary.states import TRANSITIONS, DeadLetterState, RunState, WaitState


class MemoryHistory:
    """The verbs of :class:`trigger_celery.ports.Runs` that say what has happened."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def history(self, run_id: UUID) -> Sequence[HistoryEntry]:
        with self._core.lock:
            return tuple(self._core.tables.history.get(run_id, ()))

    def note(self, run_id: UUID, verb: str, details: Mapping[str, str]) -> None:
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is not None:
                self._core.note(row.run, verb, **details)

    def notes_since_end(self, run_id: UUID, verb: str) -> Sequence[HistoryEntry]:
        since = takewhile(lambda entry: entry.state.terminal, reversed(self.history(run_id)))
        return tuple(entry for entry in since if entry.verb == verb)[::-1]


class MemoryCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        with self._core.transactions.own(joins_step=True):
            if self._is_recorded(lease, checkpoint):
                return
            self._core.held(lease)

            def check() -> None:
                # A database would hold the run's row locked until this commit; here another
                # worker may take the run over meanwhile, which must lose the whole block.
                self._core.held(lease)

            def write() -> None:
                recorded = self._core.tables.checkpoints.setdefault(lease.run_id, {})
                recorded[checkpoint.key] = checkpoint

            if self._core.transactions.open:
                block = self._core.transactions.open[-1]
                block.checkpoints[lease.run_id, checkpoint.key] = checkpoint
                block.checks.append(check)
            self._core.transactions.write(write)

    def _is_recorded(self, lease: Lease, checkpoint: Checkpoint) -> bool:
        found = self._core.tables.checkpoints.get(lease.run_id, {}).get(checkpoint.key)
        for block in self._core.transactions.open:
            found = block.checkpoints.get((lease.run_id, checkpoint.key), found)
        if found is not None and found.token != checkpoint.token:
            raise LeaseLost(
                f"step {checkpoint.key!r} of run {lease.run_id} was recorded by another worker"
            )
        return found is not None

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        with self._core.transactions.own():
            self._core.held(lease)
            self._core.add_failure(lease.run_id, failed)

    def keep_failures(self, lease: Lease, failures: Mapping[str, int]) -> None:
        with self._core.transactions.own():
            self._core.held(lease)
            rows = self._core.tables.failures
            for index, row in enumerate(rows):
                named = failures.get(row.failed.key) == row.failed.number
                if row.run_id == lease.run_id and row.counted and named:
                    rows[index] = replace(row, failed=replace(row.failed, holds=Holds.ALWAYS))

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        with self._core.lock:
            steps = self._core.tables.checkpoints.get(run_id, {}).values()
            tries = [
                row for row in self._core.tables.failures if row.run_id == run_id and row.failed.key
            ]
            recorded = {
                row.failed.key: _failure(row.failed) for row in tries if _holds(row, run_attempt)
            }
            recorded |= {step.key: _step(step) for step in steps}
            recorded |= {row.wait.key: self._wait(row) for row in self._core.waits_of(run_id)}
            failures = Counter(row.failed.key for row in tries if row.counted)
            return Outcomes(recorded=recorded, failures=dict(failures))

    def _wait(self, row: WaitRow) -> Outcome:
        event = None if row.event is None else self._core.tables.events[row.event].event
        return Outcome(
            key=row.wait.key,
            kind=row.wait.kind,
            position=row.wait.position,
            value=row.value,
            wait=row.state,
            event=event,
        )


def _holds(row: FailureRow, run_attempt: int) -> bool:
    failed = row.failed
    if failed.holds is Holds.ATTEMPT:
        return row.counted and failed.run_attempt == run_attempt
    return failed.holds is Holds.ALWAYS or (failed.holds is Holds.LIFE and row.counted)


def _failure(failed: FailedAttempt) -> Outcome:
    return Outcome(
        key=failed.key,
        kind=failed.kind,
        position=failed.position,
        value=failed.raised,
        error=failed.error,
        holds=failed.holds,
    )


def _step(step: Checkpoint) -> Outcome:
    return Outcome(key=step.key, kind=step.kind, position=step.position, value=step.value)


class MemoryRuns(MemoryHistory):
    """Implements :class:`trigger_celery.ports.Runs`."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._slots = Slots(core)

    def create(self, runs: Sequence[NewRun]) -> Created:
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

    def beginning_with(self, digits: str, *, limit: int) -> Sequence[UUID]:
        with self._core.lock:
            return sorted(i for i in self._core.tables.runs if i.hex.startswith(digits))[:limit]

    def find(
        self, wanted: RunFilter, *, after: ListPosition | None = None, limit: int
    ) -> Sequence[ListedRun]:
        with self._core.lock:
            dead_letters = self._core.tables.dead_letters
            found = [
                row.run
                for row in self._core.tables.runs.values()
                if is_wanted(row.run, wanted, dead_letters.get(row.run.id))
                and (after is None or position(row.run) < (after.created_at, after.id))
            ]
        found.sort(key=position, reverse=True)
        return [ListedRun(**stored_fields(run), error=run.error) for run in found[:limit]]

    def get(self, run_id: UUID) -> Run | None:
        with self._core.lock:
            row = self._core.tables.runs.get(run_id)
        if row is not None:
            return row.run
        pending = (
            block.runs[run_id] for block in self._core.transactions.open if run_id in block.runs
        )
        return next(pending, None)

    def claim(self, claim: Claim) -> Claimed | None:
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
        with self._core.transactions.own():
            if self._core.repeated(lease, ending.token) is not None:
                return
            run = self._core.held(lease).run
            self._core.finish(
                lifecycle.end(run, ending, self._core.now()),
                TRANSITIONS[RunState.EXECUTING][ending.state],
                cause=ending.cause,
                token=ending.token,
            )
            if ending.failed is not None:
                self._core.add_failure(run.id, ending.failed)
            self._core.resolve(ending.resolves)

    def published(self, lease: Lease) -> None:
        with self._core.transactions.own():
            row = self._core.tables.runs.get(lease.run_id)
            if row is None or row.run.fence != lease.fence:
                return
            if row.run.state.terminal and row.run.published_at is None:
                run = lifecycle.publish(row.run, self._core.now())
                self._core.tables.runs[run.id] = replace(row, run=run, claimed=None)

    def hand_back(self, lease: Lease, token: str) -> Nudge:
        with self._core.transactions.own():
            written = self._core.repeated(lease, token)
            if written is not None:
                return nudge(written.run)
            return self._core.queue(self._core.held(lease).run, "hand back", token=token)

    def recover(self, run_id: UUID, worker: str) -> Nudge | None:
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
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None or row.run.state.terminal:
                return None
            run = lifecycle.cancel(row.run, self._core.now(), error=error)
            noted: dict[str, Any] = dict(details or {})
            return self._core.finish(run, "cancel", **noted)

    def retry(self, run_id: UUID, details: Mapping[str, str] | None = None) -> Nudge:
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None:
                raise RunNotFound(f"no run has the id {run_id}")
            now, patience = self._core.now(), self._core.nudge_interval
            run = lifecycle.retry(row.run, now, nudge_interval=patience)
            details = {**(details or {}), **self.forget_the_end(row.run, details)}
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

    def forget_the_end(self, run: Run, details: Mapping[str, str] | None = None) -> dict[str, str]:
        """Make room for another life of a run; return what its history says of that.

        The caller holds the lock.
        """
        forgotten, run_id = self._forgotten(run), run.id
        tables = self._core.tables
        for wait in list(self._core.waits_of(run_id)):
            if wait.state is WaitState.CANCELED:
                del tables.waits[wait.id]
        tables.failures = [
            replace(row, counted=False) if row.run_id == run_id else row for row in tables.failures
        ]
        self._core.settle(run_id, DeadLetterState.RETRIED, details)
        return forgotten


def is_wanted(run: Run, wanted: RunFilter, dead_letter: DeadLetter | None) -> bool:
    """Whether a list asks for a run, which may have left a dead letter."""
    return (
        _is_wanted_of(dead_letter, run, wanted)
        and (not wanted.ids or run.id in wanted.ids)
        and (not wanted.tasks or run.task in wanted.tasks)
        and (not wanted.states or run.state in wanted.states)
        and wanted.queue in ("", run.spec.queue)
        and wanted.schedule in ("", run.spec.schedule)
        and set(wanted.tags) <= set(run.spec.tags)
        and wanted.parent_id in (None, run.spec.parent_id)
        and wanted.root_id in (None, run.spec.root_id, run.id)
        and (wanted.since is None or run.created_at >= wanted.since)
        and (wanted.until is None or run.created_at < wanted.until)
    )


def _is_wanted_of(dead_letter: DeadLetter | None, run: Run, wanted: RunFilter) -> bool:
    if dead_letter is None:
        return not wanted.error and not wanted.dead_letters
    same = run.error is not None and dead_letter.group == wanted.error
    is_open = dead_letter.state is DeadLetterState.OPEN
    return (same or not wanted.error) and (is_open or not wanted.dead_letters)


def position(run: Run) -> tuple[datetime, UUID]:
    """Return the place of a run in lists."""
    return run.created_at, run.id


_SHOWN = 10


class MemoryChildren:
    """Implements :class:`trigger_celery.ports.Children`."""

    def __init__(self, core: Core, runs: MemoryRuns) -> None:
        self._core = core
        self._runs = runs

    def create(self, lease: Lease, runs: Sequence[NewRun]) -> Created:
        with self._core.transactions.own():
            parent = self._core.held(lease).run
            created = self._runs.create(runs)
            if created:
                ids = [str(run.id) for run in runs if run.id in created]
                self._core.note(
                    parent,
                    "start children",
                    key=runs[0].parent_key,
                    count=len(ids),
                    first=ids[:_SHOWN],
                )
            return created

    def live(self, parent_id: UUID, key: str) -> bool:
        with self._core.lock:
            return any(run.spec.parent_key == key for run in self._live(parent_id))

    def ends(self, ids: Collection[UUID]) -> Mapping[UUID, ChildEnd]:
        with self._core.lock:
            rows = self._core.tables.runs
            return {run_id: _end(rows[run_id].run) for run_id in ids if run_id in rows}

    def close(
        self, parent_id: UUID, error: str, *, limit: int, key: str | None = None
    ) -> Sequence[Nudge]:
        with self._core.transactions.own():
            found = [
                run
                for run in reversed(list(self._live(parent_id)))
                if run.spec.closes_with_parent and (key is None or run.spec.parent_key == key)
            ]
            now, patience = self._core.now(), self._core.nudge_interval
            return [
                self._core.finish(
                    lifecycle.cancel(run, now, error=error, nudged_within=patience), "cancel"
                )
                for run in found[:limit]
            ]

    def _live(self, parent_id: UUID) -> Iterator[Run]:
        """Yield the live children, the latest first: of many it is mostly the last to end."""
        return (
            row.run
            for row in reversed(self._core.tables.runs.values())
            if row.run.spec.parent_id == parent_id and not row.run.state.terminal
        )


def _end(run: Run) -> ChildEnd:
    return ChildEnd(run_id=run.id, state=run.state, output=run.output, error=run.error)
