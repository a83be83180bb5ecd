"""The contract of a store: how many runs execute at a time, and how often they start."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    LEASE,
    NUDGE_INTERVAL,
    QUEUE,
    TASK,
    Advance,
    admit,
    admitted,
    ask,
    asked,
    begun,
    end,
    ending,
    enter,
    enter_all,
    got,
    limit,
    ran,
    run_in,
    sleeping,
    start,
    suspend,
    suspension,
    swept,
)
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Claimed, Lease, Rate
from trigger_celery.vocabulary.states import RunState

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ONE = Rate(interval=MINUTE)
THREE = Rate(interval=MINUTE, burst=3)


class SlotContract:
    """A claim takes a slot, or puts its run in line."""

    def test_a_claim_beyond_the_limit_puts_the_run_in_line(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=2)
        run_ids = enter_all(store, 3)
        for run_id in run_ids[:2]:
            claimed = ask(store, run_id)
            assert claimed is not None
            assert (claimed.limited, claimed.run) == ((QUEUE,), got(store, run_id))
        assert ask(store, run_ids[2]) is None
        run = got(store, run_ids[2])
        assert (run.state, run.fence, run.started_at, run.due_at) == ("queued", 0, None, None)
        assert [entry.verb for entry in store.runs.history(run.id)] == ["trigger"]
        advance(LEASE / 2)
        assert swept(store) == []

    def test_a_run_without_limits_needs_no_slot(self, store: Store) -> None:
        limit(store, concurrency=0)
        limit(store, "other")
        for run_id in (enter(store, ""), enter(store, "other"), enter(store, "unknown")):
            claimed = ask(store, run_id)
            assert claimed is not None
            assert claimed.limited == ()
        assert list(store.queues.loads()) == []

    def test_each_limit_holds_by_itself(self, store: Store) -> None:
        task = OF_TASK + TASK
        for name, queue in ((QUEUE, QUEUE), (task, ""), (task, "any"), (EVERYTHING, "")):
            limit(store, name, concurrency=1)
            lease, other = begun(store, queue), enter(store, queue)
            assert ask(store, other) is None, name
            end(store, lease)
            end(store, start(store, other))
            limit(store, name)

    def test_all_limits_hold_at_once(self, store: Store) -> None:
        limit(store, EVERYTHING, concurrency=4)
        limit(store, OF_TASK + TASK, concurrency=3)
        limit(store, concurrency=2, key_concurrency=1)
        claimed = ask(store, enter(store, key="a"))
        assert claimed is not None
        assert set(claimed.limited) == {EVERYTHING, OF_TASK + TASK, QUEUE}
        assert ask(store, enter(store, key="a")) is None
        begun(store, key="b")
        assert ask(store, enter(store, key="c")) is None
        begun(store, "other")
        assert ask(store, enter(store, "other")) is None
        begun(store, "other", task="another")
        assert ask(store, enter(store, "third", task="third")) is None

    def test_each_key_of_a_queue_has_its_limit_and_no_key_has_none(self, store: Store) -> None:
        limit(store, key_concurrency=1)
        limit(store, "other", key_concurrency=1)
        begun(store, key="a")
        assert ask(store, enter(store, key="a")) is None
        for key in ("b", "A", "", ""):
            begun(store, key=key)
        begun(store, "other", key="a")

    def test_a_repeated_claim_gets_the_same_answer_and_one_slot(self, store: Store) -> None:
        limit(store, concurrency=2)
        question = asked(enter(store))
        first, again = store.runs.claim(question), store.runs.claim(question)
        assert first is not None
        assert again is not None
        assert (again.lease, again.run, again.limited) == (first.lease, first.run, (QUEUE,))
        begun(store)
        late = asked(enter(store))
        assert [store.runs.claim(late) for _ in range(2)] == [None, None]
        end(store, first.lease)
        assert store.runs.claim(late) is not None

    def test_publishing_the_end_of_a_run_needs_no_slot(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=1)
        lease = begun(store)
        store.runs.end(lease, ending(publish_within=MINUTE))
        begun(store)
        advance(MINUTE * 2)
        claimed = ask(store, lease.run_id)
        assert claimed is not None
        assert (claimed.publishing, claimed.limited) == (True, ())

    def test_a_lower_limit_waits_until_enough_have_ended(self, store: Store) -> None:
        limit(store, concurrency=3)
        first, second, third = (begun(store) for _ in range(3))
        limit(store, concurrency=1)
        waiting = enter(store)
        for lease in (first, second):
            end(store, lease)
            assert ask(store, waiting) is None
            assert admitted(store) == []
        end(store, third)
        start(store, waiting)

    def test_runs_that_execute_when_a_queue_becomes_limited_count(self, store: Store) -> None:
        changes: list[tuple[str, Callable[[str], object]]] = [
            ("declared", lambda name: limit(store, name, concurrency=1)),
            ("overridden", lambda name: store.queues.override(name, {"concurrency": 1})),
            ("paused", lambda name: _pause_and_limit(store, name)),
        ]
        for name, change in changes:
            limit(store, name)
            lease, waiting = begun(store, name), enter(store, name)
            change(name)
            assert ask(store, waiting) is None, name
            end(store, lease)
            start(store, waiting)
        limit(store, EVERYTHING, concurrency=3)
        assert ask(store, enter(store, "other")) is None

    def test_of_many_claims_at_once_no_more_than_the_limit_are_granted(self, store: Store) -> None:
        limit(store, concurrency=2)
        run_ids, together = enter_all(store, 6), Barrier(6)

        def compete(run_id: UUID) -> Claimed | None:
            together.wait(timeout=30)
            try:
                return store.runs.claim(asked(run_id))
            finally:
                store.release()

        with ThreadPoolExecutor(6) as pool:
            granted = [claimed for claimed in pool.map(compete, run_ids) if claimed]
        assert len(granted) == 2
        assert [got(store, run_id).state for run_id in run_ids].count(RunState.EXECUTING) == 2


def _pause_and_limit(store: Store, name: str) -> None:
    store.queues.pause(name)
    store.queues.override(name, {"concurrency": 1})
    store.queues.resume(name)


class FreedSlotContract:
    """A run that stops executing frees its slot at once, whatever stopped it."""

    def check(self, store: Store, leave: Callable[[Lease], object]) -> None:
        """Check that a slot is taken until ``leave``, and free from then on."""
        limit(store, concurrency=1)
        new = replace(run_in(), max_duration=MINUTE * 10)
        store.runs.create([new])
        lease, waiting = start(store, new.id), enter(store)
        assert ask(store, waiting) is None
        assert admitted(store) == []
        leave(lease)
        assert admitted(store) == [waiting]
        start(store, waiting)
        assert ask(store, enter(store)) is None

    def test_by_its_end(self, store: Store) -> None:
        self.check(store, lambda lease: end(store, lease))

    def test_by_its_failure(self, store: Store) -> None:
        self.check(store, lambda lease: store.runs.end(lease, ending(RunState.FAILED, error="")))

    def test_by_waiting(self, store: Store) -> None:
        self.check(store, lambda lease: suspend(store, lease, suspension(sleeping())))

    def test_by_being_handed_back(self, store: Store) -> None:
        self.check(store, lambda lease: store.runs.hand_back(lease, "t"))

    def test_by_being_canceled(self, store: Store) -> None:
        self.check(store, lambda lease: store.runs.cancel(lease.run_id, ""))

    def test_by_the_death_of_its_worker(self, store: Store) -> None:
        self.check(store, lambda lease: store.runs.recover(lease.run_id, "w1"))

    def test_by_the_end_of_its_lease(self, store: Store, advance: Advance) -> None:
        def leave(lease: Lease) -> None:
            advance(LEASE * 2)
            assert lease.run_id in swept(store)

        self.check(store, leave)

    def test_by_the_end_of_its_time(self, store: Store, advance: Advance) -> None:
        def leave(lease: Lease) -> None:
            advance(MINUTE * 11)
            assert [nudge.run_id for nudge in store.sweeps.expire(limit=9)] == [lease.run_id]

        self.check(store, leave)

    def test_a_worker_that_was_thought_dead_frees_no_slot_of_others(self, store: Store) -> None:
        limit(store, concurrency=1)
        lease = begun(store)
        store.runs.recover(lease.run_id, "w1")
        second = start(store, lease.run_id, worker="w2")
        assert second.fence == lease.fence + 1
        store.runs.published(lease)
        assert ask(store, enter(store)) is None
        end(store, second)
        begun(store)

    def test_a_run_that_goes_on_asks_again(self, store: Store) -> None:
        limit(store, concurrency=1)
        first, failed, dead = enter_all(store, 3)
        store.runs.hand_back(start(store, first), "t")
        store.runs.end(start(store, failed), ending(RunState.FAILED, error="{}", publish=False))
        store.runs.retry(failed)
        start(store, dead)
        store.runs.recover(dead, "w1")
        lease = begun(store)
        for run_id in (first, failed, dead):
            assert ask(store, run_id) is None
            assert got(store, run_id).due_at is None
        end(store, lease)
        assert admitted(store) == [first]


class RateContract:
    """Starts are counted by claims, on the database's clock."""

    def test_a_rate_spaces_starts_evenly(self, store: Store, advance: Advance) -> None:
        limit(store, rate=ONE)
        run_ids = enter_all(store, 3)
        for number, run_id in enumerate(run_ids):
            start(store, run_id)
            for later in run_ids[number + 1 :]:
                assert ask(store, later) is None
            found = admit(store)
            assert found.nudges == ()
            if number < 2:
                assert found.again_in is not None
                assert MINUTE - SECOND * 5 < found.again_in <= MINUTE
            advance(MINUTE - SECOND * 6)
            assert admitted(store) == []
            advance(SECOND * 7)
            assert admitted(store) == run_ids[number + 1 : number + 2]

    def test_a_burst_starts_at_once_and_fills_up_while_idle(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, rate=THREE)
        for _ in range(3):
            begun(store)
        assert ask(store, enter(store)) is None
        advance(MINUTE + SECOND)
        begun(store)
        assert ask(store, enter(store)) is None
        advance(MINUTE * 60)
        for _ in range(3):
            begun(store)
        assert ask(store, enter(store)) is None

    def test_each_key_has_its_rate_and_no_key_has_none(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, key_rate=ONE)
        begun(store, key="a")
        waiting = enter(store, key="a")
        assert ask(store, waiting) is None
        for key in ("b", "A", "", ""):
            begun(store, key=key)
        found = admit(store)
        assert found.again_in is not None
        advance(found.again_in + SECOND)
        assert admitted(store) == [waiting]
        start(store, waiting)

    def test_rates_of_the_deployment_and_of_tasks_hold_too(
        self, store: Store, advance: Advance
    ) -> None:
        for name in (EVERYTHING, OF_TASK + TASK):
            limit(store, name, rate=ONE)
            end(store, begun(store))
            waiting = enter(store)
            assert ask(store, waiting) is None, name
            again_in = admit(store).again_in
            assert again_in is not None
            advance(again_in + SECOND)
            end(store, start(store, waiting))
            limit(store, name)

    def test_a_promise_counts_no_start(self, store: Store, advance: Advance) -> None:
        limit(store, rate=ONE)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        found = admit(store)
        assert found.nudges == ()
        assert found.again_in is not None
        advance(NUDGE_INTERVAL + SECOND)
        start(store, second)

    def test_no_more_starts_are_promised_than_the_rate_allows(self, store: Store) -> None:
        limit(store, rate=THREE)
        run_ids = enter_all(store, 5)
        assert admitted(store, limit=2) == run_ids[:2]
        found = admit(store)
        assert ran(found.nudges) == run_ids[2:3]
        assert found.again_in is not None
        assert admitted(store) == []
        for run_id in run_ids[:3]:
            start(store, run_id)
        assert ask(store, run_ids[3]) is None

    def test_a_run_that_started_before_counts_no_start(self, store: Store) -> None:
        limit(store, concurrency=1, rate=ONE)
        lease = begun(store)
        store.runs.hand_back(lease, "t")
        lease = start(store, lease.run_id)
        store.runs.end(lease, ending(RunState.FAILED, error="{}", publish=False))
        store.runs.retry(lease.run_id)
        lease = start(store, lease.run_id)
        store.runs.recover(lease.run_id, "w1")
        start(store, lease.run_id)

    def test_a_run_that_started_before_does_not_wait_for_a_rate_behind_others(
        self, store: Store
    ) -> None:
        limit(store, concurrency=1, rate=THREE)
        again, holder = begun(store), enter(store)
        store.runs.hand_back(again, "t")
        lease = start(store, holder)
        assert ask(store, again.run_id) is None
        ahead = enter(store, priority=3600)
        store.queues.override(QUEUE, {"rate": ONE})
        end(store, lease)
        found = admit(store)
        assert (ran(found.nudges), ask(store, ahead)) == ([again.run_id], None)

    def test_only_a_rate_sets_when_to_ask_again(self, store: Store) -> None:
        limit(store, concurrency=1, rate=THREE)
        begun(store)
        enter(store)
        found = admit(store)
        assert (found.nudges, found.again_in) == ((), None)
