"""The contract of a store: who lost the lease writes nothing, who repeats a write is told so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import ending, event_wait, sleeping, suspension
from trigger_celery.testing.contract.tools import (
    checkpoint,
    claim,
    failed_attempt,
    outcomes,
    raises,
    started,
    suspend,
)
from trigger_celery.vocabulary.records import Lease
from trigger_celery.vocabulary.states import RunState

FENCED: dict[str, Callable[[Store, Lease], object]] = {
    "record": lambda store, lease: store.checkpoints.record(lease, checkpoint(store, "late")),
    "record_failure": lambda store, lease: store.checkpoints.record_failure(
        lease, failed_attempt(store, "late")
    ),
    "suspend": lambda store, lease: suspend(store, lease, suspension(event_wait("late"))),
    "end": lambda store, lease: store.runs.end(lease, ending(RunState.FAILED, output="late")),
    "hand_back": lambda store, lease: store.runs.hand_back(lease, "late"),
}
"""Every verb that writes under a lease."""


def _fail_and_retry(store: Store, lease: Lease) -> None:
    store.runs.end(lease, ending(RunState.FAILED))
    store.runs.retry(lease.run_id)


LOST: dict[str, Callable[[Store, Lease], object]] = {
    "recovered": lambda store, lease: store.runs.recover(lease.run_id, "w1"),
    "taken over": lambda store, lease: (
        store.runs.recover(lease.run_id, "w1"),
        claim(store, lease.run_id, worker="w2"),
    ),
    "taken over by the same worker": lambda store, lease: (
        store.runs.hand_back(lease, "t"),
        claim(store, lease.run_id, worker="w1"),
    ),
    "suspended": lambda store, lease: suspend(store, lease, suspension(sleeping("before"))),
    "canceled": lambda store, lease: store.runs.cancel(lease.run_id, ""),
    "completed": lambda store, lease: store.runs.end(lease, ending()),
    "failed and retried": _fail_and_retry,
}
"""Every way to lose a lease."""


def everything(store: Store, run_id: UUID) -> tuple[object, ...]:
    """Return all that can be read of a run, to compare before and after."""
    recorded = outcomes(store, run_id)
    return (
        store.runs.get(run_id),
        list(store.runs.history(run_id)),
        dict(recorded.recorded),
        dict(recorded.failures),
        list(store.waits.open(run_id)),
    )


class FenceContract:
    """Who lost the lease writes nothing."""

    def test_no_verb_writes_once_the_lease_is_lost(self, store: Store) -> None:
        for way, lose in LOST.items():
            for name, write in FENCED.items():
                lease = started(store)
                lose(store, lease)
                before = everything(store, lease.run_id)
                try:
                    write(store, lease)
                except LeaseLost:
                    assert everything(store, lease.run_id) == before, (name, way)
                else:
                    raise AssertionError(f"{name} was accepted though the run was {way}")

    def test_no_verb_writes_under_a_fence_that_was_never_granted(self, store: Store) -> None:
        for write in FENCED.values():
            lease = started(store)
            before = everything(store, lease.run_id)
            for fence in (0, lease.fence + 1):
                with raises(LeaseLost):
                    write(store, replace(lease, fence=fence))
            assert everything(store, lease.run_id) == before

    def test_no_verb_writes_under_the_same_fence_of_another_claim(self, store: Store) -> None:
        """A database that crashed may have lost a claim, and have granted its fence again."""
        for write in FENCED.values():
            lease = started(store)
            before = everything(store, lease.run_id)
            with raises(LeaseLost):
                write(store, replace(lease, token="lost"))
            assert everything(store, lease.run_id) == before
            write(store, lease)

    def test_a_step_that_another_worker_recorded_is_never_overwritten(self, store: Store) -> None:
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "pay", "first", token="t1"))
        with raises(LeaseLost):
            store.checkpoints.record(lease, checkpoint(store, "pay", "second", token="t2"))
        assert outcomes(store, lease.run_id).recorded["pay"].value == "first"


class RepeatContract:
    """A write whose answer was lost may be repeated with its token."""

    def test_a_repeated_checkpoint_is_recorded_once(self, store: Store) -> None:
        lease = started(store)
        once = checkpoint(store, "pay", "first")
        store.checkpoints.record(lease, once)
        before = everything(store, lease.run_id)
        store.checkpoints.record(lease, once)
        assert everything(store, lease.run_id) == before

    def test_a_repeated_failed_attempt_counts_once(self, store: Store) -> None:
        lease = started(store)
        once = failed_attempt(store, "pay")
        store.checkpoints.record_failure(lease, once)
        store.checkpoints.record_failure(lease, once)
        assert outcomes(store, lease.run_id).failures == {"pay": 1}

    def test_a_repeated_suspension_suspends_once(self, store: Store) -> None:
        lease = started(store)
        once = suspension(sleeping(), event_wait())
        first = suspend(store, lease, once)
        before = everything(store, lease.run_id)
        assert suspend(store, lease, once) is first
        assert everything(store, lease.run_id) == before

    def test_a_repeated_end_ends_once(self, store: Store) -> None:
        for state in (RunState.COMPLETED, RunState.FAILED, RunState.TIMED_OUT):
            lease = started(store)
            once = ending(state, output="1")
            store.runs.end(lease, once)
            before = everything(store, lease.run_id)
            store.runs.end(lease, once)
            assert everything(store, lease.run_id) == before

    def test_an_end_under_another_token_is_no_repeat(self, store: Store) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        with raises(LeaseLost):
            store.runs.end(lease, ending())

    def test_a_repeated_hand_back_gives_the_same_nudge(self, store: Store) -> None:
        lease = started(store)
        first = store.runs.hand_back(lease, "t")
        before = everything(store, lease.run_id)
        assert store.runs.hand_back(lease, "t") == first
        assert everything(store, lease.run_id) == before
