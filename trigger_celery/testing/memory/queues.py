"""The durable queues of the in-memory store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import QueueNotFound
from trigger_celery.testing.memory.slots import Slots, standing
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary.admission import Room
from trigger_celery.vocabulary.records import (
    EVERYTHING,
    NO_LIMITS,
    REQUESTS,
    Admitted,
    Holder,
    Limits,
    Nudge,
    QueueLoad,
    Rate,
    Run,
    Standing,
    StoredQueue,
)
from trigger_celery.vocabulary.states import RunState

NO_RUN = UUID(int=0)


class MemoryQueues:
    """Implements :class:`trigger_celery.ports.Queues`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._slots = Slots(core)

    def declare(self, declared: Mapping[str, Limits]) -> int:
        with self._core.transactions.own():
            changed = 0
            for name, limits in sorted(declared.items()):
                stored = self._core.tables.queues.get(name)
                if stored is None or stored.declared != limits:
                    changed += 1
                    self._store(replace(stored or StoredQueue(name=name), declared=limits))
            return changed

    def get(self, name: str) -> StoredQueue | None:
        with self._core.lock:
            return self._core.tables.queues.get(name)

    def all(self) -> Sequence[StoredQueue]:
        with self._core.lock:
            return [queue for _, queue in sorted(self._core.tables.queues.items())]

    def override(self, name: str, limits: Mapping[str, int | Rate | None]) -> bool:
        with self._core.transactions.own():
            queue = self._found(name)
            return self._change(queue, replace(queue, overrides={**queue.overrides, **limits}))

    def reset(self, name: str) -> bool:
        with self._core.transactions.own():
            queue = self._found(name)
            return self._change(queue, replace(queue, overrides={}))

    def pause(self, name: str, *, by: str = "", reason: str = "") -> bool:
        with self._core.transactions.own():
            queue = self._found(name)
            if queue.paused_at is not None:
                return False
            now = self._core.now()
            return self._change(
                queue, replace(queue, paused_at=now, paused_by=by, pause_reason=reason)
            )

    def resume(self, name: str) -> bool:
        with self._core.transactions.own():
            queue = self._found(name)
            return self._change(
                queue, replace(queue, paused_at=None, paused_by="", pause_reason="")
            )

    def loads(self) -> Sequence[QueueLoad]:
        with self._core.lock:
            return [self._load(name) for name in sorted(self._stood_in())]

    def holders(self, name: str, *, limit: int) -> Sequence[Holder]:
        with self._core.lock:
            slots = self._core.tables.slots
            holders = [
                Holder(
                    run_id=run.id,
                    queue=standing(run).queue,
                    key=run.spec.concurrency_key,
                    task=run.task,
                    worker=run.worker,
                    since=slots[run.id].since,
                )
                for run in _of(name, self._slots.executing())
            ]
            return sorted(holders, key=lambda holder: holder.since)[:limit]

    def holds(self, run_id: UUID) -> bool:
        with self._core.lock:
            return any(run.id == run_id for run in self._slots.executing())

    def lines(self) -> Sequence[str]:
        with self._core.lock:
            return [name for name in self._core.lines.names() if self._slots.is_stood_in(name)]

    def admit(self, queue: str, *, limit: int, nudge_interval: timedelta) -> Admitted:
        with self._core.transactions.own():
            room = self._room(queue)
            nudges: list[Nudge] = []
            for run in self._turns(queue, room, self._core.tables.last_keys.get(queue, "")):
                self._promise(run, nudge_interval)
                self._core.tables.last_keys[queue] = run.spec.concurrency_key
                nudges.append(nudge(run))
                if len(nudges) >= limit:
                    break
            more = len(nudges) >= limit
            return Admitted(nudges=tuple(nudges), again_in=room.again_in, more=more)

    def count_request(self, kind: str, sender: str, rate: Rate) -> timedelta:
        with self._core.lock:
            rates, owner, now = self._core.tables.rates, (REQUESTS + kind, sender), self._core.now()
            due = rates.get(owner)
            if due is not None and due - rate.tolerance > now:
                return due - rate.tolerance - now
            rates[owner] = rate.after_one(due, now)
            return timedelta(0)

    def clean_up(self, *, limit: int) -> int:
        with self._core.transactions.own():
            tables, now = self._core.tables, self._core.now()
            stale = self._slots.stale()[:limit]
            for run_id in stale:
                del tables.slots[run_id]
                self._core.lines.forget(run_id)
            idle = [owner for owner, due in tables.rates.items() if owner[1] and due <= now][:limit]
            for owner in idle:
                del tables.rates[owner]
            return len(stale) + len(idle)

    def _room(self, queue: str) -> Room:
        """Return the room for the runs of a line; a run that was promised a slot before has it."""
        gates = self._slots.gates(_asks(queue, task) for task in self._core.lines.tasks(queue))
        room = self._slots.room(gates, map(standing, self._slots.executing()))
        for run in self._slots.promised():
            room.take(standing(run))
        room.again_at = None
        return room

    def _turns(self, queue: str, room: Room, last_key: str) -> Iterator[Run]:
        """Yield the next runs while there is room: keys take turns, each its run of earliest place.

        Each run has to be promised its slot before the next is asked for.
        """
        lines, look = self._core.lines, self._slots.look
        tasks = lines.tasks(queue)
        keys = lines.keys(queue, after=last_key)
        while keys:
            for key in list(keys):
                if all(_is_full(room, queue, task) for task in tasks):
                    return
                runs = lines.first(queue, key, look)
                first = next((run for run in runs if room.take(standing(run))), None)
                if first is None:
                    keys.remove(key)
                else:
                    yield first

    def _promise(self, run: Run, nudge_interval: timedelta) -> None:
        tables, now = self._core.tables, self._core.now()
        tables.slots[run.id] = replace(tables.slots[run.id], promised_at=now)
        self._core.lines.leave(run.id)
        start = min(run.available_at, now)  # also if the clock was set back since
        promised = replace(run, available_at=start, due_at=now + nudge_interval)
        tables.runs[run.id] = replace(tables.runs[run.id], run=promised)

    def _found(self, name: str) -> StoredQueue:
        queue = self._core.tables.queues.get(name)
        if queue is None and name == EVERYTHING:
            return StoredQueue(name=name)
        if queue is None:
            raise QueueNotFound(f"no durable queue is called {name!r}")
        return queue

    def _change(self, before: StoredQueue, after: StoredQueue) -> bool:
        if before == after:
            return False
        self._store(after)
        return True

    def _store(self, queue: StoredQueue) -> None:
        before = self._core.tables.queues.get(queue.name)
        self._core.tables.queues[queue.name] = queue
        self._hold_from_now(queue, NO_LIMITS if before is None else before.limits)
        if queue.is_limited and (before is None or not before.is_limited):
            self._count_executing(queue.name)

    def _hold_from_now(self, queue: StoredQueue, before: Limits) -> None:
        """Cut off what starts counted under another rate: the burst of the new one is used up."""
        rates, limits = self._core.tables.rates, queue.limits
        for (name, key), due in rates.items():
            new, old = (limits.key_rate, before.key_rate) if key else (limits.rate, before.rate)
            if name == queue.name and new is not None and new != old:
                rates[name, key] = min(due, self._core.now() + new.interval * new.burst)

    def _count_executing(self, name: str) -> None:
        """Give slots to the runs that execute without one: no limit counted them so far."""
        tables = self._core.tables
        executing = [row.run for row in tables.runs.values() if row.run.state is RunState.EXECUTING]
        for run in _of(name, executing):
            if not self._slots.is_held(run, tables.slots.get(run.id)):
                self._slots.hold(run, run.fence)

    def _stood_in(self) -> set[str]:
        present = [*self._slots.executing(), *(run for run, _ in self._slots.queued())]
        limited = {queue.name for queue in self._core.tables.queues.values() if queue.is_limited}
        gates = {name for run in present for name in standing(run).gates}
        return {standing(run).queue for run in present} | (gates & limited)

    def _load(self, name: str) -> QueueLoad:
        waiting = [since for run, since in self._slots.queued() if name in standing(run).gates]
        return QueueLoad(
            name=name,
            held=sum(1 for _ in _of(name, self._slots.executing())),
            waiting=len(waiting),
            waiting_since=min(waiting, default=None),
        )


def _of(name: str, runs: Iterable[Run]) -> Iterator[Run]:
    """Return the runs that meet the limits of a queue."""
    return (run for run in runs if name in standing(run).gates)


def _asks(queue: str, task: str) -> Standing:
    """Return what runs of a task ask for, whatever their keys are."""
    return Standing(run_id=NO_RUN, queue=queue, key="", task=task, starts=False)


def _is_full(room: Room, queue: str, task: str) -> bool:
    return room.left(_asks(queue, task)) == 0
