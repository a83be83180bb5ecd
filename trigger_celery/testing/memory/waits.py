"""The waits of the in-memory store, and what time alone moves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.testing.memory.events import next_number, note_matched
from trigger_celery.testing.memory.tables import Core, WaitRow, nudge
from trigger_celery.values.failures import overdue
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import (
    AHEAD,
    LOOKED_FOR,
    Candidate,
    Due,
    Elected,
    Lease,
    NewWait,
    Nudge,
    RecentClaim,
    Run,
    StoredEvent,
    Suspend,
    Unclaimed,
)
from trigger_celery.vocabulary.states import RunState, WaitState


class MemoryWaits:
    """Implements :class:`trigger_celery.ports.Waits`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        with self._core.transactions.own():
            written = self._core.repeated(lease, suspend.token)
            if written is not None:
                return written.run.state
            run = self._core.held(lease).run
            if suspend.failed is not None:
                self._core.add_failure(run.id, suspend.failed)
            self._add(run.id, suspend.waits)
            ended = self._has_ended(run.id, suspend.keys)
            looked = all(row.looked for row in self._core.open_waits(run.id))
            run = lifecycle.suspend(
                run,
                self._core.now(),
                next_attempt=suspend.next_attempt,
                first_due=self._core.first_due(run.id),
                look_within=None if looked else look_within,
            )
            self._core.move(run, "suspend", token=suspend.token)
            if ended:
                self._core.queue(run, "wake")
            return RunState.QUEUED if ended else RunState.SUSPENDED

    def _add(self, run_id: UUID, waits: Sequence[NewWait]) -> None:
        tables, now = self._core.tables, self._core.now()
        known = {row.wait.key for row in self._core.waits_of(run_id)}
        known.update(tables.checkpoints.get(run_id, ()))
        for wait in waits:
            if wait.key in known:
                continue
            due_at = wait.until if wait.delay is None else now + wait.delay
            row = WaitRow(
                id=next_number(self._core),
                run_id=run_id,
                wait=wait,
                state=WaitState.WAITING,
                due_at=due_at,
                looked=wait.kind not in LOOKED_FOR,
            )
            tables.waits[row.id] = row
            if wait.name:
                tables.shapes.setdefault(wait.name, set()).add(wait.paths)

    def _has_ended(self, run_id: UUID, keys: Sequence[str]) -> bool:
        rows = self._core.waits_of(run_id)
        return any(row.wait.key in keys and row.state is not WaitState.WAITING for row in rows)

    def looked(self, run_id: UUID, *, fence: int) -> None:
        with self._core.transactions.own():
            row = self._core.tables.runs.get(run_id)
            if row is None or row.run.state is not RunState.SUSPENDED or row.run.fence != fence:
                return
            for wait in self._core.open_waits(run_id):
                self._core.tables.waits[wait.id] = replace(wait, looked=True)
            run = replace(row.run, due_at=self._core.first_due(run_id))
            self._core.tables.runs[run_id] = replace(row, run=run)

    def unseen_events(
        self, run_id: UUID, name: str, *, after: int, limit: int
    ) -> Sequence[StoredEvent]:
        with self._core.lock:
            return tuple(self._unseen(run_id, name, after))[:limit]

    def _unseen(self, run_id: UUID, name: str, after: int) -> Iterator[StoredEvent]:
        found = self._core.tables.runs.get(run_id)
        if found is None:
            return
        taken = {row.event for row in self._core.waits_of(run_id)}
        after = max(after, found.run.event_cut)
        for sequence, row in sorted(self._core.tables.events.items()):
            if row.event.name == name and sequence > after and sequence not in taken:
                yield row.event

    def open(self, run_id: UUID, *, key: str | None = None) -> Sequence[Candidate]:
        with self._core.lock:
            return tuple(
                _candidate(row)
                for row in self._core.open_waits(run_id)
                if row.wait.kind in LOOKED_FOR and key in (None, row.wait.key)
            )

    def shapes(self, name: str) -> Sequence[str]:
        with self._core.lock:
            return tuple(sorted(self._core.tables.shapes.get(name, ())))

    def awaited(self, name: str, hashes: Sequence[int]) -> Sequence[int]:
        with self._core.lock:
            open_waits = {
                row.wait.match_hash
                for row in self._core.tables.waits.values()
                if row.state is WaitState.WAITING and row.wait.name == name
            }
            return [each for each in hashes if each in open_waits]

    def candidates(
        self, name: str, hashes: Sequence[int], *, after: int, limit: int
    ) -> Sequence[Candidate]:
        with self._core.lock:
            found = [
                _candidate(row)
                for wait_id, row in sorted(self._core.tables.waits.items())
                if wait_id > after
                and row.state is WaitState.WAITING
                and row.wait.name == name
                and row.wait.match_hash in hashes
            ]
            return tuple(found[:limit])

    def resolve(
        self, sequence: int, wait_ids: Sequence[int], *, matched: bool = False
    ) -> Sequence[Nudge]:
        with self._core.transactions.own():
            nudges = []
            for wait_id in sorted(set(wait_ids)):
                row = self._core.tables.waits.get(wait_id)
                if row is None or row.state is not WaitState.WAITING:
                    continue
                run = self._core.tables.runs[row.run_id].run
                taken = {other.event for other in self._core.waits_of(row.run_id)}
                if sequence in taken or sequence <= run.event_cut:
                    continue
                ended = replace(row, state=WaitState.EVENT, event=sequence)
                self._core.tables.waits[wait_id] = ended
                if run.state is RunState.SUSPENDED:
                    nudges.append(self._core.queue(run, "wake", key=row.wait.key))
            if matched:
                note_matched(self._core, sequence)
            return tuple(nudges)

    def conclude(
        self, wait_ids: Sequence[int], state: WaitState, *, value: str | None = None
    ) -> Sequence[Nudge]:
        with self._core.transactions.own():
            nudges = []
            for wait_id in sorted(set(wait_ids)):
                row = self._core.tables.waits.get(wait_id)
                if row is None or row.state is not WaitState.WAITING:
                    continue
                self._core.tables.waits[wait_id] = replace(row, state=state, value=value)
                run = self._core.tables.runs[row.run_id].run
                if run.state is RunState.SUSPENDED:
                    nudges.append(self._core.queue(run, "wake", key=row.wait.key))
            return tuple(nudges)

    def cancel(self, lease: Lease, keys: Collection[str]) -> None:
        with self._core.transactions.own():
            self._core.held(lease)
            for row in self._core.open_waits(lease.run_id):
                if row.wait.key in keys:
                    self._core.tables.waits[row.id] = replace(row, state=WaitState.CANCELED)


def _candidate(row: WaitRow) -> Candidate:
    return Candidate(
        wait_id=row.id,
        run_id=row.run_id,
        key=row.wait.key,
        name=row.wait.name,
        filter=row.wait.filter,
        kind=row.wait.kind,
        token_id=row.wait.token_id,
        looked=row.looked,
    )


class MemorySweeps:
    """Implements :class:`trigger_celery.ports.Sweeps`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        with self._core.transactions.own():
            found = [run for run in self._overdue() if not lifecycle.is_unclaimed(run)]
            kinds: dict[int, list[Run]] = {}
            for run in found:
                kinds.setdefault(_kind(run), []).append(run)
            runs = [
                run
                for _, of_kind in sorted(kinds.items())
                for run in of_kind[:limit]
                if not self._is_held(run)
            ]
            unlooked = [run for run in runs if self._is_unlooked(run)]
            nudges = tuple(
                self._move_on(run, nudge_interval) for run in runs if run not in unlooked
            )
            executing = [run.id for run in runs if run.state is RunState.EXECUTING]
            return Due(
                nudges=nudges,
                unlooked=tuple(self._ask_to_look(run, nudge_interval) for run in unlooked),
                failed=tuple(
                    each
                    for each in nudges
                    if each.run_id in executing
                    and self._core.tables.runs[each.run_id].run.state.terminal
                ),
            )

    def unclaimed(self, *, after: str, limit: int) -> Sequence[Unclaimed]:
        with self._core.transactions.own():
            found = [
                run
                for run in self._overdue()
                if lifecycle.is_unclaimed(run) and run.spec.task > after and not self._is_held(run)
            ]
            task = min((run.spec.task for run in found), default="")
            return [
                Unclaimed(nudge=nudge(run), due_at=run.due_at)
                for run in found
                if run.spec.task == task and run.due_at is not None
            ][:limit]

    def recent_claims(self, *, within: timedelta, limit: int) -> Sequence[RecentClaim]:
        with self._core.transactions.own():
            oldest = self._core.now() - within
            entries = [
                entry
                for entries in self._core.tables.history.values()
                for entry in entries
                if entry.at > oldest
            ]
            entries.sort(key=lambda entry: entry.at, reverse=True)
            return [
                RecentClaim(nudge=nudge(run), available_at=run.available_at)
                for entry in entries[:limit]
                if entry.verb == "claim"
                and (run := self._core.tables.runs[entry.run_id].run).available_at <= entry.at
            ]

    def nudge_again(
        self, run_ids: Collection[UUID], *, nudge_interval: timedelta
    ) -> Sequence[Nudge]:
        with self._core.transactions.own():
            return [
                self._nudge_again(run, nudge_interval)
                for run in self._overdue()
                if run.id in run_ids and lifecycle.is_unclaimed(run) and not self._is_held(run)
            ]

    def elect(self, sweeper: str, *, length: timedelta) -> Elected:
        with self._core.transactions.own():
            now, turn = self._core.now(), self._core.tables.turn
            if turn is None or turn[0] == sweeper or not now < turn[1] <= now + AHEAD * length:
                turn = self._core.tables.turn = (sweeper, now + length)
            return Elected(sweeper=turn[0], lasts=turn[1] - now)

    def resign(self, sweeper: str) -> None:
        with self._core.transactions.own():
            turn = self._core.tables.turn
            if turn is not None and turn[0] == sweeper:
                self._core.tables.turn = (sweeper, self._core.now())

    def _overdue(self) -> list[Run]:
        now = self._core.now()
        found = [
            (row.run.due_at, row.run)
            for row in self._core.tables.runs.values()
            if row.run.due_at is not None and row.run.due_at <= now
        ]
        found.sort(key=lambda pair: pair[0])
        return [run for _, run in found]

    def _is_held(self, run: Run) -> bool:
        """Look no more at a queued run that a person holds: resuming makes it due again."""
        if run.paused_at is None or run.state is not RunState.QUEUED:
            return False
        self._core.change(replace(run, due_at=None))
        return True

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        with self._core.transactions.own():
            now = self._core.now()
            found = [
                (row.run.deadline_at, row.run)
                for row in self._core.tables.runs.values()
                if row.run.deadline_at is not None and row.run.deadline_at <= now
            ]
            found.sort(key=lambda pair: pair[0])
            return [self._expire(run, now) for _, run in found[:limit]]

    def _expire(self, run: Run, now: datetime) -> Nudge:
        end = overdue(run)
        after = lifecycle.force_end(run, end, now, nudge_interval=self._core.nudge_interval)
        details = {"worker": run.worker} if run.worker else {}
        return self._core.finish(after, end.verb, cause=end.cause, **details)

    def _is_unlooked(self, run: Run) -> bool:
        if run.state is not RunState.SUSPENDED:
            return False
        return not all(row.looked for row in self._core.open_waits(run.id))

    def _ask_to_look(self, run: Run, nudge_interval: timedelta) -> Lease:
        row = self._core.tables.runs[run.id]
        run = replace(run, due_at=self._core.now() + nudge_interval)
        self._core.tables.runs[run.id] = replace(row, run=run)
        return Lease(run.id, run.fence, row.token)

    def _move_on(self, run: Run, nudge_interval: timedelta) -> Nudge:
        if run.state is RunState.EXECUTING:
            return self._core.crash(run)
        if run.state is RunState.SUSPENDED:
            return self._wake(run)
        return self._nudge_again(run, nudge_interval)

    def _wake(self, run: Run) -> Nudge:
        now = self._core.now()
        for row in self._core.open_waits(run.id):
            if row.due_at is not None and row.due_at <= now:
                self._core.tables.waits[row.id] = replace(row, state=WaitState.TIMEOUT)
        return self._core.queue(run, "wake")

    def _nudge_again(self, run: Run, nudge_interval: timedelta) -> Nudge:
        after = lifecycle.nudge_again(run, self._core.now(), nudge_interval=nudge_interval)
        return nudge(self._core.change(after))


def _kind(run: Run) -> int:
    """Return the place of its kind in a pass: timers, starts, leases, ends."""
    order = (RunState.SUSPENDED, RunState.QUEUED, RunState.EXECUTING)
    return order.index(run.state) if run.state in order else len(order)
