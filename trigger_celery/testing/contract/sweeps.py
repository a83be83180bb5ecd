"""The contract of a store: what time alone moves."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.records import (
    LEASE,
    NUDGE_INTERVAL,
    TASK,
    asked,
    ending,
    event_wait,
    new_run,
    sleeping,
    suspension,
)
from trigger_celery.testing.contract.tools import (
    Advance,
    Letters,
    checkpoint,
    claim,
    got,
    outcomes,
    queued,
    started,
    suspend,
    suspended,
    swept,
    wait_ids,
)
from trigger_celery.vocabulary.states import RunState, WaitState

SECOND = timedelta(seconds=1)


class SweepContract:
    """One pass moves what is due, each thing once."""

    def test_nothing_is_due_in_an_empty_store(self, store: Store) -> None:
        assert len(store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)) == 0

    def test_a_queued_run_is_nudged_when_nobody_came_for_it(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = queued(store, canvas="links")
        assert swept(store) == []
        advance(NUDGE_INTERVAL + SECOND)
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert [(nudge.run_id, nudge.task, nudge.canvas) for nudge in due.nudges] == [
            (run_id, TASK, "links")
        ]
        assert got(store, run_id).state is RunState.QUEUED
        assert len(store.runs.history(run_id)) == 1
        assert claim(store, run_id).lease.fence == 1

    def test_nudges_of_a_queued_run_become_rarer_but_never_end(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = queued(store)
        advance(NUDGE_INTERVAL + SECOND)
        assert swept(store) == [run_id]
        assert swept(store) == []
        advance(NUDGE_INTERVAL - SECOND)
        assert swept(store) == []
        advance(timedelta(days=30))
        assert swept(store) == [run_id]
        advance(timedelta(seconds=110))
        assert swept(store) == []
        advance(timedelta(seconds=10) + SECOND)
        assert swept(store) == [run_id]

    def test_a_delayed_run_is_nudged_when_its_time_has_come(
        self, store: Store, advance: Advance
    ) -> None:
        new = new_run(delay=timedelta(minutes=5))
        store.runs.create([new])
        advance(timedelta(minutes=4))
        assert swept(store) == []
        advance(timedelta(minutes=1) + SECOND)
        assert swept(store) == [new.id]

    def test_only_waits_that_are_due_time_out_and_their_run_is_queued(
        self, store: Store, advance: Advance
    ) -> None:
        run_id = suspended(store, sleeping("short", timedelta(minutes=1)), sleeping("long"))
        advance(timedelta(seconds=59))
        assert swept(store) == []
        advance(timedelta(seconds=2))
        assert swept(store) == [run_id]
        assert swept(store) == []
        assert got(store, run_id).state is RunState.QUEUED
        recorded = outcomes(store, run_id).recorded
        assert recorded["short"].wait is WaitState.TIMEOUT
        assert recorded["long"].wait is WaitState.WAITING
        assert claim(store, run_id).replayed

    def test_a_pass_moves_no_more_than_its_limit_and_the_rest_later(
        self, store: Store, advance: Advance
    ) -> None:
        run_ids = {queued(store) for _ in range(3)}
        run_ids |= {suspended(store, sleeping(delay=SECOND)) for _ in range(3)}
        advance(timedelta(minutes=1))
        first, second, third = (swept(store, limit=4) for _ in range(3))
        assert (len(first), len(second), len(third)) == (4, 2, 0)
        assert {*first, *second} == run_ids

    def test_an_ended_and_published_run_is_never_due(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        store.runs.end(lease, ending())
        store.runs.published(lease)
        advance(timedelta(days=365))
        assert swept(store) == []


class CrashContract:
    """Workers that die cost a run a crash each, and a run has only so many."""

    def test_a_run_whose_lease_ran_out_is_queued_with_a_crash(
        self, store: Store, advance: Advance
    ) -> None:
        lease = started(store)
        store.checkpoints.record(lease, checkpoint(store, "pay", "42"))
        advance(LEASE - SECOND)
        assert swept(store) == []
        advance(2 * SECOND)
        assert swept(store) == [lease.run_id]
        run = got(store, lease.run_id)
        assert (run.state, run.crashes, run.attempt) == ("queued", 1, 1)
        claimed = claim(store, lease.run_id, worker="w2")
        assert (claimed.lease.fence, claimed.replayed) == (2, True)
        assert outcomes(store, lease.run_id).recorded["pay"].value == "42"

    def test_later_crashes_are_followed_by_a_pause(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        claim(store, lease.run_id)
        advance(LEASE + SECOND)
        store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert got(store, lease.run_id).crashes == 2
        assert store.runs.claim(asked(lease.run_id)) is None
        advance(timedelta(seconds=5))
        assert claim(store, lease.run_id).lease.fence == 3

    def test_the_last_crash_fails_the_run_with_a_dead_letter(
        self, store: Store, advance: Advance, letters: Letters
    ) -> None:
        lease = started(store, max_crashes=1)
        suspend(store, lease, suspension(event_wait(), sleeping(delay=SECOND)))
        store.waits.looked(lease.run_id, fence=lease.fence)
        advance(2 * SECOND)
        swept(store)
        claim(store, lease.run_id)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        run = got(store, lease.run_id)
        assert (run.state, run.crashes, run.published_at) == ("failed", 1, None)
        assert run.error is not None
        assert "RunCrashed" in run.error
        assert list(letters(lease.run_id)) == ["open"]
        assert wait_ids(store) == []
        assert claim(store, lease.run_id).publishing

    def test_a_pass_tells_which_runs_it_failed(self, store: Store, advance: Advance) -> None:
        lease = started(store, max_crashes=1)
        started(store, max_crashes=2)
        advance(LEASE + SECOND)
        due = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert len(due.nudges) == 2
        assert [nudge.run_id for nudge in due.failed] == [lease.run_id]
        advance(2 * NUDGE_INTERVAL)
        again = store.sweeps.due(limit=9, nudge_interval=NUDGE_INTERVAL)
        assert lease.run_id in [nudge.run_id for nudge in again.nudges]
        assert again.failed == ()

    def test_a_recovered_run_fails_at_the_same_count(self, store: Store, letters: Letters) -> None:
        lease = started(store, max_crashes=1)
        nudge = store.runs.recover(lease.run_id, "w1")
        assert nudge is not None
        assert nudge.run_id == lease.run_id
        run = got(store, lease.run_id)
        assert (run.state, run.crashes) == ("failed", 1)
        assert list(letters(lease.run_id)) == ["open"]
        assert claim(store, lease.run_id).publishing

    def test_a_worker_that_dies_is_noticed_once(self, store: Store, advance: Advance) -> None:
        lease = started(store)
        advance(LEASE + SECOND)
        assert swept(store) == [lease.run_id]
        assert swept(store) == []
        assert store.runs.recover(lease.run_id, "w1") is None
        assert got(store, lease.run_id).crashes == 1
