"""The contract of a store: how often runs start."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.queue_tools import (
    QUEUE,
    admit,
    admitted,
    ask,
    begun,
    end,
    enter,
    enter_all,
    limit,
    start,
)
from trigger_celery.testing.contract.records import NUDGE_INTERVAL, TASK, ending
from trigger_celery.testing.contract.tools import Advance, ran
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Rate
from trigger_celery.vocabulary.states import RunState

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ONE = Rate(interval=MINUTE)
THREE = Rate(interval=MINUTE, burst=3)


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

    def test_only_a_rate_tells_when_to_look_again(self, store: Store) -> None:
        limit(store, concurrency=1, rate=THREE)
        begun(store)
        enter(store)
        found = admit(store)
        assert (found.nudges, found.again_in) == ((), None)
