"""The contract of a store: what is told of queues, and what is tidied."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.queue_tools import (
    QUEUE,
    admitted,
    ask,
    begun,
    end,
    enter,
    enter_all,
    limit,
    start,
)
from trigger_celery.testing.contract.records import TASK
from trigger_celery.testing.contract.tools import Advance
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import OF_TASK, QueueLoad, Rate

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ONE = Rate(interval=MINUTE)


class LoadContract:
    """How full queues are, and what is left over of runs that moved on."""

    def test_loads_and_holders_tell_how_full_a_queue_is(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=2)
        limit(store, "idle", concurrency=2)
        limit(store, OF_TASK + TASK, concurrency=9)
        first, second = begun(store, key="a"), start(store, enter(store), worker="w2")
        other = begun(store, "")
        waiting = enter_all(store, 2)
        assert ask(store, waiting[0]) is None
        loads = {load.name: load for load in store.queues.loads()}
        assert list(loads) == sorted([QUEUE, OF_TASK + TASK])
        assert _numbers(loads[QUEUE]) == (2, 2)
        assert _numbers(loads[OF_TASK + TASK]) == (3, 2)
        since = loads[QUEUE].waiting_since
        assert since is not None
        assert abs(since - store.now()) < MINUTE
        holders = store.queues.holders(QUEUE, limit=9)
        assert [(each.run_id, each.key, each.worker) for each in holders] == [
            (first.run_id, "a", "w1"),
            (second.run_id, "", "w2"),
        ]
        assert {(each.queue, each.task) for each in holders} == {(QUEUE, TASK)}
        assert all(abs(each.since - store.now()) < MINUTE for each in holders)
        assert len(store.queues.holders(QUEUE, limit=1)) == 1
        task = store.queues.holders(OF_TASK + TASK, limit=9)
        assert [each.run_id for each in task] == [first.run_id, second.run_id, other.run_id]

    def test_who_was_told_of_a_slot_waits_until_it_is_taken(self, store: Store) -> None:
        limit(store, concurrency=1)
        enter_all(store, 2)
        assert len(store.queues.admit(QUEUE, limit=9, nudge_interval=MINUTE).nudges) == 1
        assert [_numbers(load) for load in store.queues.loads()] == [(0, 2)]

    def test_who_moved_on_neither_holds_nor_waits(self, store: Store) -> None:
        limit(store, concurrency=1)
        lease, waiting = begun(store), enter(store)
        end(store, lease)
        store.runs.cancel(waiting, "")
        assert list(store.queues.loads()) == []
        assert list(store.queues.holders(QUEUE, limit=9)) == []

    def test_a_slot_of_an_earlier_fence_is_none(self, store: Store) -> None:
        limit(store, concurrency=1)
        lease = begun(store)
        store.runs.hand_back(lease, "t")
        limit(store)
        lease = start(store, lease.run_id)
        assert list(store.queues.holders(QUEUE, limit=9)) == []
        limit(store, concurrency=1)
        assert [each.run_id for each in store.queues.holders(QUEUE, limit=9)] == [lease.run_id]
        assert ask(store, enter(store)) is None

    def test_one_run_is_asked_whether_it_holds_a_slot(self, store: Store) -> None:
        limit(store, concurrency=2)
        ended, lease = begun(store), begun(store)
        waiting, free = enter(store), begun(store, "unlimited")
        end(store, ended)
        asked = (lease.run_id, ended.run_id, waiting, free.run_id, new_id())
        assert [store.queues.holds(run_id) for run_id in asked] == [True, *[False] * 4]
        store.runs.hand_back(lease, "t")
        limit(store)
        again = start(store, lease.run_id)
        assert not store.queues.holds(again.run_id)  # the slot is that of an earlier fence

    def test_tidying_deletes_what_means_nothing_any_more(self, store: Store) -> None:
        limit(store, concurrency=3)
        ended, canceled = begun(store), begun(store)
        gone, waiting = enter(store), enter(store)
        holder = begun(store)
        end(store, ended)
        store.runs.cancel(canceled.run_id, "")
        store.runs.cancel(gone, "")
        assert store.queues.tidy(limit=2) == 2
        assert store.queues.tidy(limit=2) == 1
        assert store.queues.tidy(limit=2) == 0
        assert list(store.queues.lines()) == [QUEUE]
        assert [_numbers(load) for load in store.queues.loads()] == [(1, 1)]
        limit(store, concurrency=1)
        assert ask(store, waiting) is None
        end(store, holder)
        assert admitted(store) == [waiting]

    def test_tidying_leaves_promises_alone(self, store: Store, advance: Advance) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        assert store.queues.tidy(limit=9) == 0
        assert ask(store, second) is None
        start(store, first)

    def test_tidying_forgets_the_rates_of_idle_keys_only(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, key_rate=ONE)
        end(store, begun(store, key="a"))
        advance(MINUTE / 2)
        end(store, begun(store, key="b"))
        store.queues.tidy(limit=9)
        assert [ask(store, enter(store, key=key)) for key in "ab"] == [None, None]
        advance(MINUTE / 2 + SECOND)
        assert store.queues.tidy(limit=9) == 1
        assert ask(store, enter(store, key="b")) is None
        begun(store, key="a")


def _numbers(load: QueueLoad) -> tuple[int, int]:
    return load.held, load.waiting
