"""The slots of the in-memory store: the limits that a run meets, its holders, the runs in line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from trigger_celery.testing.memory.tables import Core, SlotRow
from trigger_celery.vocabulary.admission import Gate, Room
from trigger_celery.vocabulary.lifecycle import may_start
from trigger_celery.vocabulary.records import NewRun, Run, RunSpec, Standing, line_of
from trigger_celery.vocabulary.states import RunState


class Slots:
    """What claims and admissions do with slots; the caller holds the lock of the core."""

    def __init__(self, core: Core) -> None:
        """Work on the tables of ``core``."""
        self._core = core

    def is_limited(self, new: NewRun) -> bool:
        """Whether limits hold for a run that is created now."""
        return bool(self.gates([_standing(new, starts=True)]))

    def are_limited(self, run: Run) -> bool:
        """Whether limits hold for a run that goes on."""
        return bool(self.gates([standing(run)]))

    def put_in_line(self, run: Run) -> None:
        """Write down that a run waits for a slot; the sweep has nothing to look at."""
        tables, now = self._core.tables, self._core.now()
        tables.slots[run.id] = SlotRow(run_id=run.id, since=now)
        self._core.lines.join(run, standing(run))
        tables.runs[run.id] = replace(tables.runs[run.id], run=replace(run, due_at=None))

    def take(self, run: Run) -> tuple[str, ...] | None:
        """Give a slot to a run that is claimed, or put it in line and return None.

        Returns the names of the limited queues that it meets.
        """
        asks = standing(run)
        gates = self.gates([asks])
        if not gates:
            return ()
        held = map(standing, (*self.executing(), *self.promised()))
        room = self.room(gates, (other for other in held if other.run_id != run.id))
        if not room.take(asks):
            self.put_in_line(run)
            return None
        self._core.tables.rates |= {owner: room.due[owner] for owner in room.changed}
        self.hold(run, run.fence + 1)
        return tuple(gate.name for gate in gates)

    def hold(self, run: Run, fence: int) -> None:
        """Write down that a run holds a slot under ``fence``."""
        self._core.tables.slots[run.id] = SlotRow(
            run_id=run.id, fence=fence, since=self._core.now()
        )
        self._core.lines.leave(run.id)

    def room(self, gates: Iterable[Gate], held: Iterable[Standing]) -> Room:
        """Return what these gates allow now."""
        return Room(gates, held=held, due=self._core.tables.rates, now=self._core.now())

    def gates(self, runs: Iterable[Standing]) -> list[Gate]:
        """Return the limited queues that these runs meet."""
        names = {name for run in runs for name in run.gates}
        queues = (self._core.tables.queues.get(name) for name in sorted(names))
        return [
            Gate(name=queue.name, limits=queue.limits, paused=queue.paused_at is not None)
            for queue in queues
            if queue is not None and queue.is_limited
        ]

    def executing(self) -> Iterator[Run]:
        """Return the runs that hold slots because they execute under the fence of theirs."""
        return (run for run, slot in self._taken() if self.is_held(run, slot))

    def promised(self) -> Iterator[Run]:
        """Return the runs in line that were promised a slot, not too long ago."""
        oldest = self._core.now() - self._core.nudge_interval
        return (
            run
            for run, slot in self._taken()
            if run.state is RunState.QUEUED
            and slot.fence is None
            and slot.promised_at is not None
            and slot.promised_at > oldest
        )

    def look(self, run_id: UUID) -> tuple[Run | None, bool]:
        """Return a run that waits for the promise of a slot, and whether it may start now."""
        slot, row = self._core.tables.slots.get(run_id), self._core.tables.runs[run_id]
        if slot is None or not _waits(row.run, slot):
            return None, False
        return row.run, may_start(row.run, self._core.now())

    def is_stood_in(self, queue: str) -> bool:
        """Whether a run in the line of a queue waits for the promise of a slot."""

        def look(run_id: UUID) -> tuple[Run | None, bool]:
            return self.look(run_id)[0], True

        lines = self._core.lines
        return any(lines.first(queue, key, look) for key in lines.keys(queue))

    def queued(self) -> Iterator[tuple[Run, datetime]]:
        """Return the runs in line, promised a slot or not, with since when."""
        return (
            (run, slot.since)
            for run, slot in self._rows()
            if slot.fence is None and run.state is RunState.QUEUED
        )

    def stale(self) -> list[UUID]:
        """Return the runs whose rows mean nothing any more, because they moved on."""
        return [slot.run_id for run, slot in self._rows() if self._is_stale(run, slot)]

    def is_held(self, run: Run, slot: SlotRow | None) -> bool:
        """Whether the run executes under the fence of this slot."""
        return slot is not None and run.state is RunState.EXECUTING and slot.fence == run.fence

    def _is_stale(self, run: Run, slot: SlotRow) -> bool:
        in_line = slot.fence is None and run.state is RunState.QUEUED
        return not (in_line or self.is_held(run, slot))

    def _taken(self) -> Iterator[tuple[Run, SlotRow]]:
        """Return the rows of runs that may have a slot; what has moved on is left out for good."""
        tables, taken = self._core.tables, self._core.lines.taken
        for run_id in list(taken):
            run, slot = tables.runs[run_id].run, tables.slots[run_id]
            if self._is_stale(run, slot):
                del taken[run_id]
            else:
                yield run, slot

    def _rows(self) -> Iterator[tuple[Run, SlotRow]]:
        tables = self._core.tables
        return ((tables.runs[slot.run_id].run, slot) for slot in tables.slots.values())


def standing(run: Run) -> Standing:
    """Return what decides which limits a run meets."""
    return _standing(run.spec, starts=run.started_at is None)


def _standing(spec: RunSpec, *, starts: bool) -> Standing:
    return Standing(
        run_id=spec.id,
        queue=line_of(spec.queue, spec.task),
        key=spec.concurrency_key,
        task=spec.task,
        starts=starts,
    )


def _waits(run: Run, slot: SlotRow) -> bool:
    return run.state is RunState.QUEUED and slot.fence is None and slot.promised_at is None
