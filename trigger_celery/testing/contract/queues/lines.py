"""The contract of a store: the order of a line, and the promises of slots."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.starting import held
from trigger_celery.testing.contract.tools import (
    NUDGE_INTERVAL,
    QUEUE,
    TASK,
    Advance,
    Begin,
    admit,
    admitted,
    ask,
    begun,
    claim,
    end,
    enter,
    enter_all,
    got,
    keys_of,
    limit,
    raises,
    ran,
    run_in,
    sleeping,
    start,
    started,
    suspend,
    suspension,
    swept,
)
from trigger_celery.testing.contract.triggers import schedule
from trigger_celery.vocabulary.records import (
    OF_TASK,
    KeyPurpose,
    PushBack,
    Schedule,
    ScheduleChange,
    in_line_of,
)
from trigger_celery.vocabulary.states import RunState

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
AGES = 2**31 - 1


class LineContract:
    """A run that may start but has no slot stands in line, and costs nothing."""

    def test_a_run_for_a_limited_queue_is_created_in_line(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=1)
        limit(store, OF_TASK + TASK, concurrency=9)
        new, in_task, free = run_in(), run_in(""), run_in("other", task="another")
        created = store.runs.create([new, in_task, free])
        assert set(created) == {new.id, in_task.id, free.id}
        assert dict(created.lines) == {new.id: QUEUE, in_task.id: OF_TASK + TASK}
        assert (got(store, new.id).due_at, got(store, in_task.id).due_at) == (None, None)
        assert got(store, free.id).due_at is not None
        assert list(store.queues.lines()) == [QUEUE, OF_TASK + TASK]
        assert dict(store.runs.create([new]).lines) == {}
        advance(HOUR)
        assert swept(store) == [free.id]

    def test_a_child_is_created_in_line(self, store: Store) -> None:
        limit(store, concurrency=1)
        lease = started(store)
        new = replace(run_in(), parent_id=lease.run_id)
        created = store.children.create(lease, [new])
        assert dict(created.lines) == {new.id: QUEUE}
        assert admitted(store) == [new.id]

    def test_a_run_of_a_schedule_is_created_in_line(self, store: Store) -> None:
        limit(store, concurrency=1)
        store.schedules.add(schedule("nightly"))
        new, free = run_in(), run_in("other")

        def decide(row: Schedule, last: RunState | None, now: datetime) -> ScheduleChange:
            return ScheduleChange(schedule=row, runs=(new, free))

        change = store.schedules.change("nightly", decide)
        assert change is not None
        assert dict(change.lines) == {new.id: QUEUE}
        assert admitted(store) == [new.id]

    def test_a_place_in_line_is_the_callers_to_commit(self, store: Store, begin: Begin) -> None:
        limit(store, concurrency=1)
        lost, kept = run_in(), run_in()
        with raises(ZeroDivisionError), begin():
            assert store.runs.create([lost]).lines
            raise ZeroDivisionError
        assert list(store.queues.lines()) == []
        with begin():
            assert store.runs.create([kept]).lines
        assert admitted(store) == [kept.id]

    def test_a_delayed_run_stands_in_line_from_its_first_claim_on(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, concurrency=1)
        new = run_in(delay=HOUR)
        assert dict(store.runs.create([new]).lines) == {}
        assert got(store, new.id).due_at is not None
        assert (list(store.queues.lines()), admitted(store)) == ([], [])
        lease = begun(store)
        advance(HOUR + SECOND)
        store.runs.renew([lease])
        assert swept(store) == [new.id]
        assert ask(store, new.id) is None
        assert list(store.queues.lines()) == [QUEUE]
        end(store, lease)
        assert admitted(store) == [new.id]

    def test_a_run_names_the_line_it_stands_in_until_it_is_let_in(self, store: Store) -> None:
        limit(store, concurrency=1)
        limit(store, OF_TASK + TASK, concurrency=9)
        holder, delayed = begun(store), run_in(delay=HOUR)
        store.runs.create([delayed])
        waiting, in_task = enter(store), enter(store, "")
        free = enter(store, "other", task="another")

        def lines(*run_ids: UUID) -> list[str]:
            return [in_line_of(got(store, run_id)) for run_id in run_ids]

        assert lines(waiting, in_task) == [QUEUE, OF_TASK + TASK]
        assert lines(holder.run_id, delayed.id, free) == ["", "", ""]
        store.managing.pause(free, {})
        store.managing.pause(waiting, {})
        assert lines(free, waiting) == ["", ""]
        store.managing.resume(waiting, {})
        assert (ask(store, waiting), lines(waiting)) == (None, [QUEUE])
        end(store, holder)
        assert admitted(store) == [waiting]
        assert lines(waiting, holder.run_id) == ["", ""]

    def test_a_run_in_line_is_claimed_if_there_is_room(self, store: Store) -> None:
        limit(store, concurrency=2)
        for run_id in enter_all(store, 2):
            start(store, run_id)
        assert (list(store.queues.lines()), admitted(store)) == ([], [])

    def test_a_place_in_line_is_earlier_by_the_priority_in_seconds(self, store: Store) -> None:
        for priority in (0, 60, AGES):
            run = got(store, enter(store, priority=priority))
            assert run.line_at == run.available_at - timedelta(seconds=priority)

    def test_a_run_that_is_put_off_moves_in_its_line(self, store: Store) -> None:
        new = run_in(delay=HOUR, priority=60)
        store.runs.create([new])
        store.managing.reschedule(new.id, {}, delay=HOUR * 2)
        run = got(store, new.id)
        assert run.line_at == run.available_at - timedelta(seconds=60)
        pushed = held(store, run_in(delay=HOUR, priority=60), purpose=KeyPurpose.DEBOUNCE)
        with store.joined():
            assert store.keys.push_back(PushBack(run_id=pushed.id, delay=HOUR * 3))
        later = got(store, pushed.id)
        assert later.line_at == later.available_at - timedelta(seconds=60)
        assert later.line_at > run.line_at

    def test_a_run_keeps_its_place_for_life(self, store: Store, advance: Advance) -> None:
        limit(store, concurrency=1)
        lease = begun(store)
        place = got(store, lease.run_id).line_at
        suspend(store, lease, suspension(sleeping(delay=SECOND)))
        store.waits.looked(lease.run_id, fence=lease.fence)
        advance(HOUR)
        second, third = begun(store), enter(store)
        assert swept(store) == [lease.run_id]
        assert ask(store, lease.run_id) is None
        assert got(store, lease.run_id).line_at < got(store, third).line_at
        assert got(store, lease.run_id).line_at <= place
        end(store, second)
        assert admitted(store) == [lease.run_id]


class PromiseContract:
    """A run that was promised a free slot has it for a while."""

    def test_a_promise_returns_the_nudge_of_its_run(self, store: Store) -> None:
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

    def test_a_run_that_was_promised_a_slot_claims_it(self, store: Store) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        lease = start(store, first)
        assert admitted(store) == []
        end(store, lease)
        assert admitted(store) == [second]

    def test_a_promise_whose_nudge_is_lost_is_nudged_again(
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
    """The next run: keys take turns, and within a key the earliest place is first."""

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

    def test_a_run_that_cannot_start_is_passed_over(self, store: Store, advance: Advance) -> None:
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

    def test_no_run_is_let_in_where_none_is_in_line(self, store: Store) -> None:
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
