"""Durable queues: never more runs than slots, and the next one starts with the end of another."""

from __future__ import annotations

import queue as queues_of_threads
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from support.limited_tasks import (
    MINUTE,
    NAP,
    SECOND,
    body,
    limited,
    nap,
    nudged,
    once,
    states,
    work,
)
from trigger_celery import rerun
from trigger_celery.body.children import Together
from trigger_celery.body.steps import primitive
from trigger_celery.body.waits import Event
from trigger_celery.client.starting import run_together
from trigger_celery.config import Config
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.declare.queue import Queue
from trigger_celery.declare.schedule import every
from trigger_celery.engine.core import NullDispatcher
from trigger_celery.engine.process.patience import worker_patience
from trigger_celery.engine.runs.control import recover
from trigger_celery.engine.runs.trigger import Request, start, trigger
from trigger_celery.engine.segment.outcome import NOT_CLAIMED, Finished, Left
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing import (
    Fault,
    FaultStore,
    Harness,
)
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState


class Crowd(NullDispatcher):
    """A dispatcher whose nudges are executed by many threads."""

    def __init__(self, harness: Harness, runs: int) -> None:
        self.nudges: list[UUID] = []
        self.left = threading.Semaphore(0)
        self._runs = runs
        self._harness = harness
        self._inbox: queues_of_threads.Queue[UUID | None] = queues_of_threads.Queue()

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        for nudge in nudges:
            self.nudges.append(nudge.run_id)
            self._inbox.put(nudge.run_id)

    def work(self, threads: int) -> None:
        workers = [threading.Thread(target=self._work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(self._runs):
                assert self.left.acquire(timeout=30)
        finally:
            for _ in workers:
                self._inbox.put(None)
            for worker in workers:
                worker.join(30)

    def _work(self) -> None:
        while (run_id := self._inbox.get(timeout=60)) is not None:
            if isinstance(self._harness.execute(run_id), Finished):
                self.left.release()


def test_threads_never_execute_more_than_the_limit(harness: Harness) -> None:
    lock, full = threading.Lock(), threading.Event()
    executing, most = 0, 0

    def send() -> None:
        nonlocal executing, most
        with lock:
            executing += 1
            most = max(most, executing)
            if executing == 10:
                full.set()
        full.wait(30)
        with lock:
            executing -= 1

    task = limited(harness, send, concurrency_limit=10)
    crowd = harness.engine.dispatcher = Crowd(harness, runs=25)
    runs = [harness.trigger(task) for _ in range(25)]
    crowd.work(threads=14)
    assert most == 10
    assert states(harness, runs) == {RunState.COMPLETED}
    assert sorted(crowd.nudges) == sorted(runs)  # each of them once


def test_a_trigger_nudges_as_many_as_there_are_slots(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=3)
    runs = [harness.trigger(task) for _ in range(5)]
    assert nudged(harness) == runs[:3]
    assert harness.stored(runs[4]).due_at is None


def test_the_end_of_one_starts_the_next_without_a_sweep(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    first, second, third = (harness.trigger(task) for _ in range(3))
    assert nudged(harness) == [first]
    assert isinstance(harness.execute(first), Finished)
    assert nudged(harness) == [second]
    assert harness.execute(third) is NOT_CLAIMED
    work(harness)
    assert nudged(harness) == []
    harness.execute(second)
    work(harness)
    assert states(harness, [first, second, third]) == {RunState.COMPLETED}


def test_a_failed_run_leaves_its_slot(harness: Harness) -> None:
    def fail() -> None:
        raise LookupError("gone")

    task = limited(harness, fail, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    nudged(harness)
    harness.execute(first)  # it is to be tried again, later
    assert nudged(harness) == [second]


def test_the_next_is_nudged_before_the_end_is_published(harness: Harness) -> None:
    seen: list[list[UUID]] = []
    task = harness.task(
        body,
        queue=Queue("emails", concurrency_limit=1),
        on_success=lambda run, output: seen.append(nudged(harness)),
    )
    sync_declared(harness.engine)
    first, second = harness.trigger(task), harness.trigger(task)
    nudged(harness)
    harness.execute(first)
    assert seen == [[second]]


def test_a_suspended_run_leaves_its_slot_and_keeps_its_place(harness: Harness) -> None:
    def rouse() -> None:
        harness.advance(timedelta(seconds=NAP / 2))
        harness.trigger(waker)  # to be behind the first although it asks before it
        harness.advance(timedelta(seconds=NAP / 2))
        harness.sweep()
        assert nudged(harness) == [first]
        assert harness.execute(first) is NOT_CLAIMED

    task = limited(harness, nap, concurrency_limit=1)
    waker = harness.task(body, queue=Queue("emails", concurrency_limit=1))
    rouser = harness.task(rouse, queue=Queue("emails", concurrency_limit=1))
    first, second = harness.trigger(task), harness.trigger(rouser)
    assert nudged(harness) == [first]
    assert isinstance(harness.execute(first), Left)
    assert nudged(harness) == [second]
    harness.execute(second)
    assert nudged(harness) == [first]
    assert isinstance(harness.execute(first), Finished)
    (third,) = nudged(harness)
    assert harness.run(third).task == "body"


def test_a_lost_lease_ends_the_segment_as_ever(harness: Harness) -> None:
    def lose() -> None:
        harness.advance(MINUTE)
        once()

    task = limited(harness, lose, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    nudged(harness)
    left = harness.execute(first)
    assert isinstance(left, Left)
    assert left.reason == "lease lost"
    assert nudged(harness) == []  # no worker has taken it over so far: it holds its slot
    harness.sweep()
    assert nudged(harness) == [first, second]


def test_an_interrupt_is_not_masked_by_an_admission_that_fails(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    task = limited(harness, interrupt, concurrency_limit=1)
    run_id = harness.trigger(task)
    monkeypatch.setattr(harness.memory.queues, "admit", fail)
    with pytest.raises(KeyboardInterrupt):
        harness.execute(run_id)
    assert "queue 'emails': runs in line could not be let in, the sweep will" in caplog.text


def test_a_database_that_is_away_costs_the_outcome_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("away")

    task = limited(harness, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    nudged(harness)
    start = harness.clock.now
    with monkeypatch.context() as patch:
        patch.setattr(harness.memory.queues, "admit", away)
        assert isinstance(harness.execute(first), Finished)
        third = harness.trigger(task)
    assert harness.clock.now - start <= 2 * SECOND
    assert nudged(harness) == []
    assert "the sweep will: the database is away" in caplog.text
    harness.sweep()
    assert nudged(harness) == [second]
    assert harness.run(third).state is RunState.QUEUED


def test_a_lost_answer_is_made_up_for(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    harness.engine.store = store = FaultStore(harness.memory, {1: Fault.LOST_ACK})
    with worker_patience():  # a caller outside of runs leaves it to the sweep
        first, second = harness.trigger(task), harness.trigger(task)
    verbs = ["runs.create", "queues.admit", "queues.admit", "runs.create", "queues.admit"]
    assert [verb for _, verb in store.calls] == verbs
    assert nudged(harness) == []  # the slot is promised to the first, whose nudge is lost
    harness.advance(harness.config.nudge_interval)
    harness.sweep()
    work(harness)
    assert states(harness, [first, second]) == {RunState.COMPLETED}


def test_a_dispatcher_that_fails_stops_no_run(harness: Harness) -> None:
    class Broken(NullDispatcher):
        def nudge(self, nudges: Sequence[Nudge]) -> None:
            if nudges:
                raise RuntimeError("no broker")

    task = limited(harness, concurrency_limit=1)
    harness.engine.dispatcher = Broken()
    first, second = harness.trigger(task), harness.trigger(task)
    assert isinstance(harness.execute(first), Finished)
    harness.engine.dispatcher = harness.dispatcher
    harness.sweep()
    assert nudged(harness) == []  # it has a promise, and its nudge is not due again so far
    harness.advance(harness.config.nudge_interval)
    harness.sweep()
    assert second in nudged(harness)


def test_a_run_that_is_rolled_back_is_not_let_in(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    harness.engine.store = store = FaultStore(harness.memory)

    def roll_back() -> None:
        with harness.memory.transaction():
            harness.trigger(task)
            raise LookupError

    with pytest.raises(LookupError):
        roll_back()
    assert "queues.admit" not in [verb for _, verb in store.calls]
    assert nudged(harness) == []


def test_runs_are_let_in_after_the_callers_commit(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    with harness.memory.transaction():
        runs = [harness.trigger(task), harness.trigger(task)]
        assert nudged(harness) == []
    assert nudged(harness) == runs[:1]


def test_a_batch_asks_each_line_once(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=2)
    free = harness.task(nap)
    harness.engine.store = store = FaultStore(harness.memory)
    asked = [Request(definition=each) for each in (task, free, task, task)]
    runs = [each.id for each in start(harness.engine, asked)]
    assert [verb for _, verb in store.calls] == ["runs.create", "queues.admit"]
    assert nudged(harness) == [runs[1], runs[0], runs[2]]


def test_a_rerun_stands_in_line_too(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    first = harness.trigger(task)
    again = rerun(first)
    assert nudged(harness) == [first]
    work(harness)
    harness.execute(first)
    assert nudged(harness) == [again]


def test_a_delayed_run_asks_when_its_time_has_come(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    first = harness.trigger(task)
    late = trigger(harness.engine, task, options=TriggerOptions(delay=MINUTE))
    assert nudged(harness) == [first]
    harness.advance(MINUTE)
    harness.sweep()
    assert late in nudged(harness)
    harness.execute(first)
    assert harness.execute(late) is not NOT_CLAIMED


def test_a_parent_and_its_children_share_a_slot(harness: Harness) -> None:
    @primitive
    def start_child(number: int) -> Any:
        request = Request(definition=child, args=(number,))
        return run_together(
            harness.engine, "child", [request] * 3, Together(), frame=sys._getframe()
        )

    def parent() -> object:
        return start_child(7)

    emails = Queue("emails", concurrency_limit=1)
    child = harness.task(body, name="child", queue=emails)
    task = harness.task(parent, queue=emails)
    sync_declared(harness.engine)
    run_id = harness.trigger(task)
    work(harness)
    assert harness.run(run_id).state is RunState.COMPLETED
    assert harness.result(run_id) == [7, 7, 7]


def test_a_schedule_starts_no_more_than_the_limit(harness: Harness) -> None:
    task = harness.task(
        body, queue=Queue("emails", concurrency_limit=1), schedule=every(MINUTE, overlap="allow")
    )
    harness.sweep()
    harness.advance(MINUTE)
    harness.sweep()
    (first,) = nudged(harness)
    harness.advance(harness.config.nudge_interval / 2)
    second = harness.trigger(task)
    assert nudged(harness) == []
    harness.execute(first)
    assert nudged(harness) == [second]


def test_an_event_starts_no_more_than_the_limit(harness: Harness) -> None:
    def paid(event: Event) -> object:
        return event.payload

    harness.task(paid, queue=Queue("emails", concurrency_limit=1), on_event="paid")
    sync_declared(harness.engine)
    harness.send_event("paid", 1)
    harness.send_event("paid", 2)
    (first,) = nudged(harness)
    harness.execute(first)
    (second,) = nudged(harness)
    harness.execute(second)
    assert {harness.result(first), harness.result(second)} == {1, 2}


def test_canceling_an_executing_run_lets_the_next_in_at_once(harness: Harness) -> None:
    seen: list[UUID] = []

    def stop() -> None:
        nudged(harness)
        harness.cancel(first)
        seen.extend(nudged(harness))

    task = limited(harness, stop, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    harness.execute(first)
    assert seen == [first, second]  # the first is to be published


def test_a_recovered_run_lets_the_next_in_at_once(harness: Harness) -> None:
    seen: list[UUID] = []

    def die() -> None:
        nudged(harness)
        recover(harness.engine, first, harness.run(first).worker)
        seen.extend(nudged(harness))

    task = limited(harness, die, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    harness.execute(first)
    assert seen == [first, second]


def test_canceling_a_run_that_was_promised_a_slot_lets_the_next_in(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    first, second = harness.trigger(task), harness.trigger(task)
    assert nudged(harness) == [first]
    harness.cancel(first)
    assert nudged(harness) == [first, second]


def test_a_run_that_timed_out_lets_the_next_in_with_the_same_sweep(harness: Harness) -> None:
    seen: list[UUID] = []

    def hang() -> None:
        nudged(harness)
        harness.advance(MINUTE)
        harness.sweep()
        seen.extend(nudged(harness))

    task = limited(harness, hang, concurrency_limit=1)
    options = TriggerOptions(max_duration=MINUTE)
    first = trigger(harness.engine, task, options=options)
    second = harness.trigger(task)
    harness.execute(first)
    assert harness.run(first).state is RunState.TIMED_OUT
    assert seen == [first, second]


def test_lines_take_turns_at_the_slots_of_the_deployment() -> None:
    order: list[str] = []
    with Harness(config=Config(concurrency_limit=1)) as harness:
        tasks = [harness.task(lambda name: order.append(name), name=name) for name in "abc"]
        sync_declared(harness.engine)
        for task in tasks:
            for _ in range(3):
                harness.trigger(task, task.name)
        work(harness)
    assert order == [*"abcabcabc"]


def test_a_slot_of_a_task_lets_in_its_runs_of_other_queues(harness: Harness) -> None:
    task = harness.task(body, concurrency_limit=1, queue=Queue("emails", concurrency_limit=5))
    Queue("letters")
    sync_declared(harness.engine)
    first = harness.trigger(task)
    second = trigger(harness.engine, task, options=TriggerOptions(queue="letters"))
    assert nudged(harness) == [first]
    harness.execute(first)
    assert nudged(harness) == [second]


def test_a_run_that_joined_another_line_meanwhile_is_seen(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = harness.task(body, concurrency_limit=1, queue=Queue("emails", concurrency_limit=5))
    Queue("letters")
    sync_declared(harness.engine)
    first = harness.trigger(task)
    second = trigger(harness.engine, task, options=TriggerOptions(queue="letters"))
    nudged(harness)
    asked = iter([(), ("letters",)])  # its transaction was open at the first look
    monkeypatch.setattr(harness.memory.queues, "lines", lambda: next(asked))
    harness.execute(first)
    assert nudged(harness) == [second]
