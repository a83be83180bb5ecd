"""The contract of a store: promises of slots, and who is next to get one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trigger_celery.ports import Store
from trigger_celery.testing.contract.keys import held
from trigger_celery.testing.contract.queue_tools import (
    QUEUE,
    admit,
    admitted,
    ask,
    end,
    enter,
    enter_all,
    keys_of,
    limit,
    run_in,
    start,
)
from trigger_celery.testing.contract.records import NUDGE_INTERVAL, TASK
from trigger_celery.testing.contract.tools import Advance, claim, got, ran, swept
from trigger_celery.vocabulary.records import OF_TASK, KeyPurpose, PushBack

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
AGES = 2**31 - 1


class PromiseContract:
    """Who is told of a free slot has it for a while."""

    def test_a_promise_tells_whom_to_nudge(self, store: Store) -> None:
        limit(store, concurrency=1)
        run_id = enter(store)
        (nudge,) = admit(store).nudges
        assert (nudge.run_id, nudge.task, nudge.canvas) == (run_id, TASK, "links")
        assert admit(store).nudges == ()

    def test_a_promise_holds_a_slot_for_a_while(self, store: Store, advance: Advance) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        assert admitted(store) == []
        assert ask(store, second) is None
        advance(NUDGE_INTERVAL + SECOND)
        lease = start(store, second)
        assert ask(store, first) is None
        end(store, lease)
        start(store, first)

    def test_who_was_promised_a_slot_claims_it(self, store: Store) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        lease = start(store, first)
        assert admitted(store) == []
        end(store, lease)
        assert admitted(store) == [second]

    def test_a_promise_whose_nudge_is_lost_is_told_again(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=1)
        run_id = enter(store)
        assert admitted(store) == [run_id]
        due_at = got(store, run_id).due_at
        assert due_at is not None
        assert abs(due_at - store.now() - NUDGE_INTERVAL) < SECOND * 5
        assert swept(store) == []
        advance(NUDGE_INTERVAL + SECOND)
        assert swept(store) == [run_id]
        start(store, run_id)

    def test_a_promise_to_a_run_that_goes_away_is_void(self, store: Store) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        store.runs.cancel(first, "")
        assert admitted(store) == [second]


class TurnContract:
    """Who is next: keys take turns, and within a key the one with the earliest place."""

    def test_the_earliest_place_is_next(self, store: Store) -> None:
        limit(store, concurrency=3)
        first, second = enter_all(store, 2)
        ahead = enter(store, priority=3600)
        far_ahead = enter(store, priority=AGES)
        assert admitted(store) == [far_ahead, ahead, first]
        for run_id in (far_ahead, ahead):
            end(store, start(store, run_id))
        assert admitted(store) == [second]

    def test_keys_take_turns_whatever_their_priorities(self, store: Store) -> None:
        limit(store, concurrency=9)
        for key in "aaabcc":
            enter(store, key=key, priority=9 if key == "a" else 0)
        found = admitted(store)
        assert sorted(keys_of(store, found[:3])) == ["a", "b", "c"]
        assert sorted(keys_of(store, found[3:])) == ["a", "a", "c"]
        assert keys_of(store, found[5:]) == "a"

    def test_turns_go_on_from_call_to_call(self, store: Store) -> None:
        limit(store, concurrency=9)
        for key in "aaabbbccc":
            enter(store, key=key)
        found = keys_of(store, [admitted(store, limit=1)[0] for _ in range(9)])
        assert found == found[:3] * 3
        assert sorted(found[:3]) == ["a", "b", "c"]

    def test_a_key_with_one_run_does_not_wait_for_one_with_many(self, store: Store) -> None:
        limit(store, concurrency=1)
        enter_all(store, 20, key="many")
        lone = enter(store, key="lone")
        ran_so_far = []
        for _ in range(2):
            (run_id,) = admitted(store)
            ran_so_far.append(run_id)
            end(store, start(store, run_id))
        assert lone in ran_so_far

    def test_a_full_key_is_passed_over(self, store: Store) -> None:
        limit(store, concurrency=3, key_concurrency=1)
        for key in "aaabb":
            enter(store, key=key)
        assert sorted(keys_of(store, admitted(store))) == ["a", "b"]
        last = enter(store, key="c")
        assert admitted(store) == [last]

    def test_a_full_task_does_not_hold_up_others_in_its_queue(self, store: Store) -> None:
        limit(store, concurrency=3)
        limit(store, OF_TASK + TASK, concurrency=1)
        first, _, _ = enter_all(store, 3)
        others = [enter(store, task="another", priority=2 - number) for number in range(3)]
        assert admitted(store) == [first, *others[:2]]

    def test_who_cannot_start_is_passed_over(self, store: Store, advance: Advance) -> None:
        limit(store, concurrency=1)
        paused, canceled, patient = enter_all(store, 3)
        put_off = held(store, run_in(), purpose=KeyPurpose.DEBOUNCE).id
        expired = replace(run_in(priority=60), ttl=SECOND)
        store.runs.create([expired])
        store.managing.pause(paused, {})
        store.runs.cancel(canceled, "")
        with store.joined():
            assert store.keys.push_back(PushBack(run_id=put_off, delay=HOUR))
        advance(SECOND * 2)
        assert admitted(store) == [patient]
        end(store, start(store, patient))
        assert admitted(store) == []
        assert store.managing.resume(paused, {}) is not None
        end(store, start(store, paused))
        advance(HOUR)
        assert put_off in swept(store)
        start(store, put_off)

    def test_nobody_is_let_in_where_nobody_waits(self, store: Store) -> None:
        limit(store, concurrency=1)
        for queue in (QUEUE, "unknown"):
            found = admit(store, queue)
            assert (found.nudges, found.again_in, found.more) == ((), None, False)

    def test_a_call_lets_in_no_more_than_its_limit(self, store: Store) -> None:
        limit(store, concurrency=4)
        run_ids = enter_all(store, 6)
        first = admit(store, limit=3)
        assert first.more
        second = admit(store, limit=3)
        assert not second.more
        assert [*ran(first.nudges), *ran(second.nudges)] == run_ids[:4]

    def test_a_run_without_a_queue_waits_in_line_for_its_task(self, store: Store) -> None:
        line = OF_TASK + TASK
        limit(store, line, concurrency=1)
        claim(store, enter(store, ""))
        waiting = enter(store, "")
        assert (admitted(store, line), list(store.queues.lines())) == ([], [line])
        assert ask(store, waiting) is None
