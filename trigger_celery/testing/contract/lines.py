"""The contract of a store: who stands in line for a slot, and who is next."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.ports import Store
from trigger_celery.testing.contract.keys import held
from trigger_celery.testing.contract.queue_tools import (
    QUEUE,
    admitted,
    ask,
    begun,
    end,
    enter,
    enter_all,
    limit,
    run_in,
    start,
)
from trigger_celery.testing.contract.records import TASK, sleeping, suspension
from trigger_celery.testing.contract.schedules import schedule
from trigger_celery.testing.contract.tools import (
    Advance,
    Begin,
    got,
    raises,
    started,
    suspend,
    swept,
)
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

    def test_a_run_tells_what_it_stands_in_line_for_until_it_is_let_in(self, store: Store) -> None:
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
