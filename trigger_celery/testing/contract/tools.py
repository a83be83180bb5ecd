"""What the tests of the store's contract are written with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    AWKWARD,
    LEASE,
    LOOK_WITHIN,
    NUDGE_INTERVAL,
    asked,
    new_run,
    suspension,
)
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import (
    Checkpoint,
    Claimed,
    Event,
    FailedAttempt,
    Lease,
    NewEvent,
    NewWait,
    Nudge,
    Outcomes,
    Run,
    Span,
    StepKind,
    Suspend,
)
from trigger_celery.vocabulary.states import RunState

Advance = Callable[[timedelta], object]
"""Lets the database's time pass."""
Letters = Callable[[UUID], Sequence[str]]
"""Returns the states of a run's dead letters, oldest first."""
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
    """Suspend a run; whoever does it looks for stored events within a minute."""
    return store.waits.suspend(lease, what, look_within=LOOK_WITHIN)


def emitted(store: Store, name: str = "approved", payload: str = "{}") -> Event:
    """Store an event."""
    event = store.events.add(NewEvent(id=str(new_id()), name=name, payload=payload))
    assert event is not None
    return event


def wait_ids(store: Store, name: str = "approved", match_hash: int = 7) -> list[int]:
    """Return the ids of the open waits on a name."""
    found = store.waits.candidates(name, [match_hash], after=0, limit=100)
    return [candidate.wait_id for candidate in found]


def ran(nudges: Collection[Nudge]) -> list[UUID]:
    """Return whom the nudges are for."""
    return [nudge.run_id for nudge in nudges]


def swept(store: Store, *, limit: int = 100) -> list[UUID]:
    """Run one pass of the sweep and return who was nudged."""
    return ran(store.sweeps.due(limit=limit, nudge_interval=NUDGE_INTERVAL).nudges)
