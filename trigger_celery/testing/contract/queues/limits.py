"""The contract of a store: what durable queues allow, how full they are, and cleaning up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import QueueNotFound, TransactionOpen
from trigger_celery.ports import Store
from trigger_celery.testing.contract.tools import (
    AWKWARD,
    QUEUE,
    TASK,
    Advance,
    Begin,
    admit,
    admitted,
    ask,
    begun,
    end,
    enter,
    enter_all,
    got,
    limit,
    raises,
    ran,
    start,
    stored,
    swept,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Limits, QueueLoad, Rate
from trigger_celery.vocabulary.states import RunState

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
ONE = Rate(interval=MINUTE)

OFTEN = Rate(interval=timedelta(microseconds=600_001), burst=3)
EVERY = Limits(
    concurrency=10, key_concurrency=1, rate=OFTEN, key_rate=Rate(interval=OFTEN.interval)
)
NAME = "e-mails/é \U0001f600"


class QueueContract:
    """Code declares queues, people change them, and neither undoes what the other did."""

    def test_a_queue_comes_back_as_it_was_declared(self, store: Store) -> None:
        assert store.queues.get(NAME) is None
        assert list(store.queues.all()) == []
        assert store.queues.declare({NAME: EVERY, "a": Limits()}) == 2
        queue = stored(store, NAME)
        assert (queue.name, queue.declared, queue.limits, dict(queue.overrides)) == (
            NAME,
            EVERY,
            EVERY,
            {},
        )
        assert (queue.paused_at, queue.paused_by, queue.pause_reason) == (None, "", "")
        assert [each.name for each in store.queues.all()] == ["a", NAME]
        assert store.queues.get(NAME.upper()) is None

    def test_only_what_is_new_or_changed_is_declared(self, store: Store) -> None:
        declared = {QUEUE: Limits(concurrency=1), "other": Limits()}
        assert store.queues.declare({}) == 0
        assert store.queues.declare(declared) == 2
        assert store.queues.declare(declared) == 0
        assert store.queues.declare({**declared, QUEUE: Limits(concurrency=2)}) == 1
        assert stored(store).limits == Limits(concurrency=2)
        assert [queue.name for queue in store.queues.all()] == [QUEUE, "other"]

    def test_an_override_stands_in_until_it_is_reset(self, store: Store) -> None:
        limit(store, concurrency=1, rate=OFTEN)
        assert store.queues.override(QUEUE, {"concurrency": 5, "rate": None, "key_rate": OFTEN})
        assert not store.queues.override(QUEUE, {"concurrency": 5, "rate": None, "key_rate": OFTEN})
        assert stored(store).limits == Limits(concurrency=5, key_rate=OFTEN)
        limit(store, concurrency=2, key_concurrency=3)
        assert stored(store).limits == Limits(concurrency=5, key_concurrency=3, key_rate=OFTEN)
        assert store.queues.reset(QUEUE)
        assert not store.queues.reset(QUEUE)
        assert stored(store).limits == Limits(concurrency=2, key_concurrency=3)

    def test_limits_that_are_not_named_stay_overridden(self, store: Store) -> None:
        limit(store, concurrency=2, key_concurrency=3)
        assert store.queues.override(QUEUE, {"concurrency": 5, "key_rate": OFTEN})
        assert store.queues.override(QUEUE, {"key_concurrency": None})
        assert store.queues.override(QUEUE, {"concurrency": None})
        assert not store.queues.override(QUEUE, {"key_rate": OFTEN})
        assert not store.queues.override(QUEUE, {})
        overrides = {"concurrency": None, "key_concurrency": None, "key_rate": OFTEN}
        assert dict(stored(store).overrides) == overrides

    def test_a_rate_that_is_changed_holds_at_once(self, store: Store, advance: Advance) -> None:
        day, minute = Rate(interval=timedelta(days=1)), Rate(interval=timedelta(minutes=1))
        limit(store, rate=day, key_rate=day)
        start(store, enter(store, key="k"))
        waiting, last = enter(store, key="k"), enter(store, key="k")
        store.queues.override(QUEUE, {"rate": minute, "key_rate": minute})
        assert ask(store, waiting) is None
        advance(timedelta(seconds=61))
        assert admitted(store) == [waiting]
        start(store, waiting)
        store.queues.override(QUEUE, {"rate": day, "key_rate": None})
        assert ask(store, last) is None
        advance(timedelta(seconds=61))
        start(store, last)

    def test_a_pause_keeps_its_caller_and_reason_and_survives_declarations(
        self, store: Store
    ) -> None:
        limit(store, concurrency=1)
        assert store.queues.pause(QUEUE, by="ann", reason=AWKWARD)
        assert not store.queues.pause(QUEUE, by="bob")
        limit(store, concurrency=2)
        store.queues.override(QUEUE, {"concurrency": 3})
        queue = stored(store)
        assert (queue.paused_by, queue.pause_reason) == ("ann", AWKWARD)
        assert queue.paused_at is not None
        assert abs(queue.paused_at - store.now()) < timedelta(minutes=1)
        assert store.queues.resume(QUEUE)
        assert not store.queues.resume(QUEUE)
        queue = stored(store)
        assert (queue.paused_at, queue.paused_by, queue.pause_reason) == (None, "", "")

    def test_an_unknown_queue_is_not_changed(self, store: Store) -> None:
        verbs: list[Callable[[], object]] = [
            lambda: store.queues.override("unknown", {"concurrency": 1}),
            lambda: store.queues.reset("unknown"),
            lambda: store.queues.pause("unknown"),
            lambda: store.queues.resume("unknown"),
        ]
        for verb in verbs:
            with raises(QueueNotFound) as refusal:
                verb()
            assert "unknown" in refusal.message
        assert store.queues.get("unknown") is None

    def test_the_deployment_can_always_be_limited_and_paused(self, store: Store) -> None:
        assert not store.queues.resume(EVERYTHING)
        assert not store.queues.reset(EVERYTHING)
        assert store.queues.pause(EVERYTHING, by="ann")
        assert stored(store, EVERYTHING).paused_by == "ann"
        assert store.queues.override(EVERYTHING, {"concurrency": 1})
        assert store.queues.resume(EVERYTHING)
        assert stored(store, EVERYTHING).limits == Limits(concurrency=1)

    def test_queues_are_changed_in_transactions_of_their_own(
        self, store: Store, begin: Begin
    ) -> None:
        limit(store, concurrency=1)
        verbs: list[Callable[[], object]] = [
            lambda: store.queues.declare({QUEUE: Limits()}),
            lambda: store.queues.override(QUEUE, {"concurrency": 2}),
            lambda: store.queues.reset(QUEUE),
            lambda: store.queues.pause(QUEUE),
            lambda: admit(store),
        ]
        for verb in verbs:
            with raises(TransactionOpen), begin():
                verb()
        assert stored(store).limits == Limits(concurrency=1)
        assert stored(store).paused_at is None


class PausedQueueContract:
    """A paused queue starts nothing; what executes goes on, and runs are still accepted."""

    def test_runs_wait_while_their_queue_is_paused(self, store: Store, advance: Advance) -> None:
        limit(store)
        lease, before = begun(store), enter(store)
        store.queues.pause(QUEUE)
        after = enter(store)
        assert [ask(store, run_id) for run_id in (before, after)] == [None, None]
        assert set(store.runs.renew([lease])) == {lease}
        end(store, lease)
        assert got(store, lease.run_id).state is RunState.COMPLETED
        advance(timedelta(hours=1))
        assert (swept(store), admitted(store)) == ([], [])
        store.queues.resume(QUEUE)
        assert set(admitted(store)) == {before, after}
        start(store, before)
        start(store, after)

    def test_a_pause_of_everything_holds_every_task(self, store: Store) -> None:
        limit(store, concurrency=5)
        store.queues.pause(EVERYTHING)
        run_ids = [enter(store), enter(store, ""), enter(store, "other"), enter(store, task="b")]
        assert [ask(store, run_id) for run_id in run_ids] == [None] * 4
        assert list(store.queues.lines()) == sorted([QUEUE, OF_TASK + TASK, "other"])
        assert [admitted(store, line) for line in store.queues.lines()] == [[]] * 3
        store.queues.resume(EVERYTHING)
        found = [run_id for line in store.queues.lines() for run_id in admitted(store, line)]
        assert sorted(found) == sorted(run_ids)

    def test_a_limit_of_zero_starts_nothing(self, store: Store) -> None:
        limit(store, concurrency=0)
        run_id = enter(store)
        assert ask(store, run_id) is None
        assert admitted(store) == []
        store.queues.override(QUEUE, {"concurrency": 1})
        assert admitted(store) == [run_id]

    def test_a_paused_task_holds_its_runs_in_every_queue(self, store: Store) -> None:
        limit(store, OF_TASK + TASK)
        store.queues.pause(OF_TASK + TASK)
        held = [enter(store), enter(store, "")]
        assert [ask(store, run_id) for run_id in held] == [None, None]
        start(store, enter(store, task="another"))

    def test_runs_in_line_are_let_in_when_nothing_limits_the_queue_any_more(
        self, store: Store
    ) -> None:
        limit(store, concurrency=1)
        run_ids = enter_all(store, 5)
        limit(store)
        let_in: list[UUID] = []
        more = [True]
        while more[-1]:
            found = admit(store, limit=2)
            let_in += ran(found.nudges)
            more.append(found.more)
        assert len(more) > 3
        assert let_in == run_ids
        for run_id in run_ids:
            claimed = ask(store, run_id)
            assert claimed is not None
            assert claimed.limited == ()


class RequestContract:
    """Requests are counted for each sender by itself, on the database's clock."""

    def test_a_sender_may_ask_as_often_as_its_rate_allows(
        self, store: Store, advance: Advance
    ) -> None:
        rate = Rate(interval=MINUTE, burst=3)
        for _ in range(3):
            assert store.queues.count_request("api", "a", rate) == timedelta(0)
        for _ in range(2):  # a request that is refused puts nothing off
            wait = store.queues.count_request("api", "a", rate)
            assert MINUTE - SECOND * 20 < wait <= MINUTE
        assert store.queues.count_request("api", "A", rate) == timedelta(0)
        assert store.queues.count_request("token", "a", rate) == timedelta(0)
        advance(MINUTE + SECOND)
        assert store.queues.count_request("api", "a", rate) == timedelta(0)
        assert store.queues.count_request("api", "a", rate) > timedelta(0)
        advance(MINUTE * 60)
        for _ in range(3):
            assert store.queues.count_request("api", "a", rate) == timedelta(0)
        assert store.queues.count_request("api", "a", rate) > timedelta(0)

    def test_what_was_counted_of_requests_is_deleted_when_it_matters_no_more(
        self, store: Store, advance: Advance
    ) -> None:
        assert store.queues.count_request("api", "a", ONE) == timedelta(0)
        assert store.queues.clean_up(limit=9) == 0
        assert store.queues.count_request("api", "a", ONE) > timedelta(0)
        advance(MINUTE + SECOND)
        assert store.queues.clean_up(limit=9) == 1
        assert store.queues.count_request("api", "a", ONE) == timedelta(0)


class LoadContract:
    """How full queues are, and what is left over of runs that moved on."""

    def test_loads_and_holders_say_how_full_a_queue_is(
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

    def test_a_run_with_a_promised_slot_waits_until_it_is_claimed(self, store: Store) -> None:
        limit(store, concurrency=1)
        enter_all(store, 2)
        assert len(store.queues.admit(QUEUE, limit=9, nudge_interval=MINUTE).nudges) == 1
        assert [_numbers(load) for load in store.queues.loads()] == [(0, 2)]

    def test_a_run_that_moved_on_neither_holds_nor_waits(self, store: Store) -> None:
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

    def test_a_cleanup_deletes_slots_and_places_of_runs_that_moved_on(self, store: Store) -> None:
        limit(store, concurrency=3)
        ended, canceled = begun(store), begun(store)
        gone, waiting = enter(store), enter(store)
        holder = begun(store)
        end(store, ended)
        store.runs.cancel(canceled.run_id, "")
        store.runs.cancel(gone, "")
        assert store.queues.clean_up(limit=2) == 2
        assert store.queues.clean_up(limit=2) == 1
        assert store.queues.clean_up(limit=2) == 0
        assert list(store.queues.lines()) == [QUEUE]
        assert [_numbers(load) for load in store.queues.loads()] == [(1, 1)]
        limit(store, concurrency=1)
        assert ask(store, waiting) is None
        end(store, holder)
        assert admitted(store) == [waiting]

    def test_a_cleanup_leaves_promises_alone(self, store: Store, advance: Advance) -> None:
        limit(store, concurrency=1)
        first, second = enter_all(store, 2)
        assert admitted(store) == [first]
        assert store.queues.clean_up(limit=9) == 0
        assert ask(store, second) is None
        start(store, first)

    def test_a_cleanup_forgets_the_rates_of_idle_keys_only(
        self, store: Store, advance: Advance
    ) -> None:
        limit(store, key_rate=ONE)
        end(store, begun(store, key="a"))
        advance(MINUTE / 2)
        end(store, begun(store, key="b"))
        store.queues.clean_up(limit=9)
        assert [ask(store, enter(store, key=key)) for key in "ab"] == [None, None]
        advance(MINUTE / 2 + SECOND)
        assert store.queues.clean_up(limit=9) == 1
        assert ask(store, enter(store, key="b")) is None
        begun(store, key="a")


def _numbers(load: QueueLoad) -> tuple[int, int]:
    return load.held, load.waiting
