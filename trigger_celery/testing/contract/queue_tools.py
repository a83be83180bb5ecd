"""What the tests of durable queues are written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import NUDGE_INTERVAL, TASK, asked, ending, new_run
from trigger_celery.testing.contract.tools import got, ran
from trigger_celery.vocabulary.records import (
    Admitted,
    Claimed,
    Lease,
    Limits,
    NewRun,
    Rate,
    StoredQueue,
)

QUEUE = "emails"


def limit(
    store: Store,
    name: str = QUEUE,
    *,
    concurrency: int | None = None,
    key_concurrency: int | None = None,
    rate: Rate | None = None,
    key_rate: Rate | None = None,
) -> None:
    """Declare a queue with these limits."""
    limits = Limits(
        concurrency=concurrency, key_concurrency=key_concurrency, rate=rate, key_rate=key_rate
    )
    store.queues.declare({name: limits})


def stored(store: Store, name: str = QUEUE) -> StoredQueue:
    """Return a queue that exists."""
    queue = store.queues.get(name)
    assert queue is not None
    return queue


def run_in(
    queue: str = QUEUE,
    *,
    key: str = "",
    task: str = TASK,
    priority: int = 0,
    delay: timedelta = timedelta(0),
) -> NewRun:
    """Return a run for a queue, not yet stored."""
    new = new_run(canvas="links", delay=delay)
    return replace(new, task=task, queue=queue, concurrency_key=key, priority=priority)


def enter(
    store: Store, queue: str = QUEUE, *, key: str = "", task: str = TASK, priority: int = 0
) -> UUID:
    """Create a run for a queue and return its id."""
    new = run_in(queue, key=key, task=task, priority=priority)
    store.runs.create([new])
    return new.id


def enter_all(store: Store, count: int, queue: str = QUEUE, *, key: str = "") -> list[UUID]:
    """Create runs for a queue and return their ids, the earliest place in line first.

    Their priorities are seconds apart: no two have one place, however fast they are created.
    """
    return [enter(store, queue, key=key, priority=count - number) for number in range(count)]


def ask(store: Store, run_id: UUID, *, worker: str = "w1") -> Claimed | None:
    """Claim a run, whatever its task."""
    return store.runs.claim(asked(run_id, task=got(store, run_id).task, worker=worker))


def start(store: Store, run_id: UUID, *, worker: str = "w1") -> Lease:
    """Claim a run that gets a slot."""
    claimed = ask(store, run_id, worker=worker)
    assert claimed is not None
    return claimed.lease


def begun(store: Store, queue: str = QUEUE, *, key: str = "", task: str = TASK) -> Lease:
    """Create a run for a queue and claim it."""
    return start(store, enter(store, queue, key=key, task=task))


def end(store: Store, lease: Lease) -> None:
    """Complete a run, with nothing to publish."""
    store.runs.end(lease, ending(publish=False))


def admit(store: Store, queue: str = QUEUE, *, limit: int = 100) -> Admitted:
    """Promise free slots."""
    return store.queues.admit(queue, limit=limit, nudge_interval=NUDGE_INTERVAL)


def admitted(store: Store, queue: str = QUEUE, *, limit: int = 100) -> list[UUID]:
    """Promise free slots, and return to whom."""
    return ran(admit(store, queue, limit=limit).nudges)


def keys_of(store: Store, run_ids: Sequence[UUID]) -> str:
    """Return the concurrency keys of these runs, one letter each, as one text."""
    return "".join(got(store, run_id).concurrency_key for run_id in run_ids)
