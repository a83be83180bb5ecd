"""The contract of a store: runs that runs started, and what their ends mean."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    AWKWARD,
    NUDGE_INTERVAL,
    TASK,
    asked,
    ending,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Advance,
    claim,
    got,
    queued,
    raises,
    ran,
    started,
    suspend,
    swept,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease, NewRun
from trigger_celery.vocabulary.states import RunState

KEY = "fan"


def child(parent_id: UUID, *, key: str = KEY, closes: bool = True) -> NewRun:
    """Return a run to be created as a child."""
    return NewRun(
        id=new_id(),
        task=TASK,
        input="[[],{}]",
        parent_id=parent_id,
        parent_key=key,
        closes_with_parent=closes,
    )


def born(store: Store, lease: Lease, *, key: str = KEY, closes: bool = True) -> UUID:
    """Create one child of a leased run and return its id."""
    new = child(lease.run_id, key=key, closes=closes)
    assert set(store.children.create(lease, [new])) == {new.id}
    return new.id


def finish(store: Store, run_id: UUID) -> None:
    """Let a queued run complete."""
    store.runs.end(claim(store, run_id).lease, ending())


class ChildContract:
    """A run starts its children once, and only while it is executing."""

    def test_children_are_created_once(self, store: Store) -> None:
        lease = started(store)
        new = [child(lease.run_id) for _ in range(3)]
        assert set(store.children.create(lease, new[:2])) == {run.id for run in new[:2]}
        assert set(store.children.create(lease, new)) == {new[2].id}
        assert set(store.children.create(lease, new)) == set()
        run = got(store, new[0].id)
        assert (run.state, run.parent_id, run.parent_key) == ("queued", lease.run_id, KEY)
        assert run.closes_with_parent is True
        told = [e for e in store.runs.history(lease.run_id) if e.verb == "start children"]
        assert len(told) == 2
        assert str(new[2].id) in told[1].data
        assert got(store, lease.run_id).fence == lease.fence

    def test_a_run_that_is_not_executing_any_more_starts_nothing(self, store: Store) -> None:
        lease = started(store)
        store.runs.cancel(lease.run_id, AWKWARD)
        new = child(lease.run_id)
        with raises(LeaseLost):
            store.children.create(lease, [new])
        assert store.runs.get(new.id) is None

    def test_an_older_lease_starts_nothing(self, store: Store) -> None:
        old = started(store)
        store.runs.recover(old.run_id, "w1")
        claim(store, old.run_id, worker="w2")
        new = child(old.run_id)
        with raises(LeaseLost):
            store.children.create(old, [new])
        assert store.runs.get(new.id) is None

    def test_children_live_until_the_last_has_ended(self, store: Store) -> None:
        lease = started(store)
        assert store.children.live(lease.run_id, KEY) is False
        first, second = born(store, lease), born(store, lease)
        other = born(store, lease, key="other")
        assert store.children.live(lease.run_id, KEY) is True
        finish(store, first)
        assert store.children.live(lease.run_id, KEY) is True
        store.runs.cancel(second, AWKWARD)
        assert store.children.live(lease.run_id, KEY) is False
        assert store.children.live(lease.run_id, "other") is True
        assert store.children.live(first, KEY) is False
        finish(store, other)
        assert store.children.live(lease.run_id, "other") is False

    def test_a_suspended_child_lives(self, store: Store) -> None:
        lease = started(store)
        run_id = born(store, lease)
        held = claim(store, run_id).lease
        assert store.children.live(lease.run_id, KEY) is True
        suspend(store, held, suspension(sleeping()))
        assert store.children.live(lease.run_id, KEY) is True

    def test_the_ends_of_runs_are_told_by_their_ids(self, store: Store) -> None:
        lease = started(store)
        done, canceled, waiting = (born(store, lease) for _ in range(3))
        store.runs.end(claim(store, done).lease, ending(output="[1]"))
        store.runs.cancel(canceled, AWKWARD)
        ends = store.children.ends([done, canceled, waiting, new_id()])
        assert set(ends) == {done, canceled, waiting}
        assert (ends[done].run_id, ends[done].state, ends[done].output) == (
            done,
            RunState.COMPLETED,
            "[1]",
        )
        assert (ends[canceled].state, ends[canceled].error) == (RunState.CANCELED, AWKWARD)
        assert (ends[waiting].state, ends[waiting].output) == (RunState.QUEUED, None)


class CloseContract:
    """Children close with their parent."""

    def test_live_children_that_close_with_their_parent_are_canceled(self, store: Store) -> None:
        lease = started(store)
        waiting, executing, done = (born(store, lease) for _ in range(3))
        free = born(store, lease, closes=False)
        stranger = queued(store)
        held = claim(store, executing).lease
        finish(store, done)
        nudges = store.children.close(lease.run_id, AWKWARD, limit=10)
        assert set(ran(nudges)) == {waiting, executing}
        assert store.children.close(lease.run_id, AWKWARD, limit=10) in ([], ())
        for run_id in (waiting, executing):
            run = got(store, run_id)
            assert (run.state, run.error, run.worker) == (RunState.CANCELED, AWKWARD, "")
            assert run.finished_at is not None
            assert store.runs.history(run_id)[-1].verb == "cancel"
        assert got(store, done).state is RunState.COMPLETED
        assert got(store, free).state is RunState.QUEUED
        assert got(store, stranger).state is RunState.QUEUED
        with raises(LeaseLost):
            store.runs.end(held, ending())

    def test_a_suspended_child_is_canceled_with_its_waits(self, store: Store) -> None:
        lease = started(store)
        run_id = born(store, lease)
        suspend(store, claim(store, run_id).lease, suspension(sleeping()))
        store.children.close(lease.run_id, AWKWARD, limit=10)
        assert got(store, run_id).state is RunState.CANCELED
        waits = store.checkpoints.load(run_id, run_attempt=1).recorded.values()
        assert [outcome.wait for outcome in waits] == ["canceled"]

    def test_no_more_are_closed_at_once_than_asked_for(self, store: Store) -> None:
        lease = started(store)
        children = {born(store, lease) for _ in range(5)}
        batches = [store.children.close(lease.run_id, AWKWARD, limit=2) for _ in range(4)]
        assert [len(batch) for batch in batches] == [2, 2, 1, 0]
        assert {run_id for batch in batches for run_id in ran(batch)} == children

    def test_one_fan_out_may_be_closed_alone(self, store: Store) -> None:
        lease = started(store)
        mine, other = born(store, lease), born(store, lease, key="other")
        assert ran(store.children.close(lease.run_id, AWKWARD, limit=10, key=KEY)) == [mine]
        assert got(store, other).state is RunState.QUEUED

    def test_a_closed_child_owes_publishing(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        first, second = born(store, lease), born(store, lease)
        store.children.close(lease.run_id, AWKWARD, limit=10)
        claimed = store.runs.claim(asked(first))
        assert claimed is not None
        assert claimed.publishing
        store.runs.published(claimed.lease)
        advance(NUDGE_INTERVAL + timedelta(seconds=1))
        assert second in swept(store)
