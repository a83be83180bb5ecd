"""What the tests of the store's contract are written with: records, calls and queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import (
    Admitted,
    Cause,
    Checkpoint,
    Claim,
    Claimed,
    Ending,
    FailedAttempt,
    Lease,
    Limits,
    NewEvent,
    NewRun,
    NewWait,
    Nudge,
    Outcomes,
    Rate,
    Run,
    Span,
    StepKind,
    StoredEvent,
    StoredQueue,
    Suspend,
)
from trigger_celery.vocabulary.states import RunState

LEASE = timedelta(seconds=60)
NUDGE_INTERVAL = timedelta(seconds=10)
LOOK_WITHIN = timedelta(seconds=60)
LONG = timedelta(days=1)
TASK = "contract-task"

AWKWARD = '{"text": "\\u0000\\ud800 \\\\ \U0001f600 \u00e9 e\u0301 %s ? \\n", "b":1, "a": 1.0}\t  '
"""Text that databases like to change: escapes, four-byte characters, order, trailing spaces."""


def new_run(
    *,
    input: str = "[]",  # noqa: A002  # the record's own name
    canvas: str = "",
    delay: timedelta = timedelta(0),
    max_crashes: int = 3,
) -> NewRun:
    """Return a run of the contract's task, not yet stored."""
    return NewRun(
        id=new_id(), task=TASK, input=input, canvas=canvas, delay=delay, max_crashes=max_crashes
    )


def asked(
    run_id: UUID,
    *,
    worker: str = "w1",
    task: str = TASK,
    version: str = "v1",
    length: timedelta = LEASE,
    token: str | None = None,
) -> Claim:
    """Return what a worker asks for."""
    return Claim(
        run_id=run_id,
        task=task,
        worker=worker,
        version=version,
        length=length,
        token=token or new_token(),
    )


CAUSE = Cause(fingerprint="f1", kind="ValueError", message="no paper", step="print", place="p.py")
"""Of every unsuccessful end that names no other."""


def ending(
    state: RunState = RunState.COMPLETED,
    *,
    token: str | None = None,
    output: str | None = None,
    error: str | None = None,
    cause: Cause = CAUSE,
    resolves: tuple[UUID, ...] = (),
    publish: bool = True,
    publish_within: timedelta = LEASE,
) -> Ending:
    """Return the end of a run."""
    return Ending(
        state=state,
        token=token or new_token(),
        output=output,
        error=error,
        cause=cause,
        resolves=resolves,
        publish=publish,
        publish_within=publish_within,
    )


def sleeping(key: str = "sleep", delay: timedelta = LONG, position: int = 1) -> NewWait:
    """Return a wait that time alone ends."""
    return NewWait(key=key, kind=StepKind.SLEEP, position=position, delay=delay)


def event_wait(
    key: str = "approval",
    name: str = "approved",
    *,
    delay: timedelta | None = None,
    match_hash: int = 7,
    paths: str = '["id"]',
    position: int = 1,
) -> NewWait:
    """Return a wait that an event ends."""
    return NewWait(
        key=key,
        kind=StepKind.EVENT,
        position=position,
        delay=delay,
        name=name,
        filter=AWKWARD,
        paths=paths,
        match_hash=match_hash,
        source="shop.py:13",
    )


def suspension(*waits: NewWait, token: str | None = None, next_attempt: int = 1) -> Suspend:
    """Return the suspension on all of these waits."""
    return Suspend(
        waits=waits,
        keys=tuple(wait.key for wait in waits),
        next_attempt=next_attempt,
        token=token or new_token(),
    )


Advance = Callable[[timedelta], object]
"""Lets the database's time pass."""
Begin = Callable[[], AbstractContextManager[object, bool | None]]
"""Opens a transaction as user code does."""


class raises:  # reads as a verb, and a test needs no framework for it
    """Fail unless the block raises ``expected``; ``message`` is what it said."""

    def __init__(self, expected: type[BaseException]) -> None:
        self._expected = expected
        self.message = ""

    def __enter__(self) -> raises:
        """Give access to the message."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Swallow what was expected."""
        assert error is not None, f"{self._expected.__name__} was not raised"
        self.message = str(error)
        return isinstance(error, self._expected)


def dead_letters(store: Store, run_id: UUID) -> list[str]:
    """Return the state of a run's dead letter; nothing if it has none."""
    found = store.dead_letters.get(run_id)
    return [] if found is None else [str(found.state)]


def queued(store: Store, *, canvas: str = "", max_crashes: int = 3) -> UUID:
    """Create a run and return its id."""
    new = new_run(canvas=canvas, max_crashes=max_crashes)
    store.runs.create([new])
    return new.id


def claim(store: Store, run_id: UUID, *, worker: str = "w1", length: timedelta = LEASE) -> Claimed:
    """Claim a run that can be claimed."""
    claimed = store.runs.claim(asked(run_id, worker=worker, length=length))
    assert claimed is not None
    return claimed


def started(store: Store, *, worker: str = "w1", max_crashes: int = 3) -> Lease:
    """Create a run and claim it."""
    return claim(store, queued(store, max_crashes=max_crashes), worker=worker).lease


def got(store: Store, run_id: UUID) -> Run:
    """Return a run that exists."""
    run = store.runs.get(run_id)
    assert run is not None
    return run


def outcomes(store: Store, run_id: UUID) -> Outcomes:
    """Return what is recorded of a run in its first attempt."""
    return store.checkpoints.load(run_id, run_attempt=1)


def span(store: Store) -> Span:
    """Return a measurement of no duration."""
    now = store.now()
    return Span(
        started_at=now,
        ended_at=now,
        cpu=timedelta(milliseconds=3),
        peak_memory=1 << 30,
        queries=2,
        worker="w1",
        source="shop.py:12",
    )


def checkpoint(
    store: Store,
    key: str,
    value: str = "1",
    *,
    kind: StepKind = StepKind.STEP,
    position: int = 1,
    token: str | None = None,
) -> Checkpoint:
    """Return a success to record."""
    return Checkpoint(
        key=key,
        kind=kind,
        value=value,
        position=position,
        attempt=1,
        span=span(store),
        token=token or new_token(),
    )


def failed_attempt(
    store: Store, key: str, number: int = 1, *, run_attempt: int = 1
) -> FailedAttempt:
    """Return a failed attempt to record."""
    return FailedAttempt(
        key=key, run_attempt=run_attempt, number=number, error=AWKWARD, span=span(store)
    )


def suspended(store: Store, *waits: NewWait) -> UUID:
    """Create a run that is suspended on these waits; stored events were looked for."""
    lease = started(store)
    assert suspend(store, lease, suspension(*waits)) is RunState.SUSPENDED
    store.waits.looked(lease.run_id, fence=lease.fence)
    return lease.run_id


def suspend(store: Store, lease: Lease, what: Suspend) -> RunState:
    """Suspend a run; its worker looks for stored events within a minute."""
    return store.waits.suspend(lease, what, look_within=LOOK_WITHIN)


def emitted(store: Store, name: str = "approved", payload: str = "{}") -> StoredEvent:
    """Store an event."""
    event = store.events.add(NewEvent(id=str(new_id()), name=name, payload=payload))
    assert event is not None
    return event


def wait_ids(store: Store, name: str = "approved", match_hash: int = 7) -> list[int]:
    """Return the ids of the open waits on a name."""
    found = store.waits.candidates(name, [match_hash], after=0, limit=100)
    return [candidate.wait_id for candidate in found]


def ran(nudges: Collection[Nudge]) -> list[UUID]:
    """Return the runs that the nudges name."""
    return [nudge.run_id for nudge in nudges]


def swept(store: Store, *, limit: int = 100) -> list[UUID]:
    """Run one pass of the sweep, as if all nudges were lost; return the runs that it nudged."""
    due = store.sweeps.due(limit=limit, nudge_interval=NUDGE_INTERVAL)
    found = ran(due.nudges)
    task = ""
    while waiting := store.sweeps.unclaimed(after=task, limit=max(limit - len(found), 0)):
        task = waiting[0].nudge.task
        overdue = [each.nudge.run_id for each in waiting]
        found += ran(store.sweeps.nudge_again(overdue, nudge_interval=NUDGE_INTERVAL))
    return found


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
    """Promise free slots, and return the runs that got one."""
    return ran(admit(store, queue, limit=limit).nudges)


def keys_of(store: Store, run_ids: Sequence[UUID]) -> str:
    """Return the concurrency keys of these runs, one letter each, as one text."""
    return "".join(got(store, run_id).spec.concurrency_key for run_id in run_ids)
