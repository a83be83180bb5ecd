"""Workers die, people cancel and retry: a run still ends once, and says how."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.config import Config
from trigger_celery.engine.execution.runner import execute, published
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Finished, Left
from trigger_celery.errors import (
    IllegalTransition,
    RunCanceled,
    RunFailed,
    RunNotFound,
    StoreUnavailable,
)
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.vocabulary.records import DeadLetterFilter
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)
LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


@step
def note(text: str) -> str:
    LOG.append(text)
    return text


@step
def die() -> None:
    LOG.append("die")
    raise SimulatedCrash


def deadly() -> None:
    note("one")
    die()


def crash(harness: Harness, run_id: UUID) -> None:
    with pytest.raises(SimulatedCrash):
        harness.execute(run_id)


def flow() -> list[Any]:
    first = note("one")
    sleep(5)
    event = wait_for_event("go", timeout=600)
    return [first, event.payload, note("two")]


def run_through(harness: Harness, store: FaultStore) -> UUID:
    """Carry the flow to its end, starting a new worker after each crash."""
    task = harness.task(flow)
    run_id = uuid4()
    sent = False
    for _ in range(20):
        try:
            _create(harness, task, run_id)
            harness.run_until_idle(timedelta(minutes=5))
            if not sent:
                harness.send_event("go", "payload", id="the event")
                sent = True
            harness.run_until_idle(timedelta(minutes=5))
            if harness.run(run_id).state.terminal:
                return run_id
        except SimulatedCrash:
            store.restart()
        except (
            StoreUnavailable
        ):  # raised to the caller that triggered, sent or swept: it tries again
            pass
    raise AssertionError(harness.run(run_id))


def _create(harness: Harness, task: Any, run_id: UUID) -> None:
    trigger(harness.engine, task, id=run_id)


def store_calls() -> int:
    stores: list[FaultStore] = []

    def wrap(store: Any) -> FaultStore:
        stores.append(FaultStore(store))
        return stores[0]

    with Harness(wrap=wrap) as harness:
        run_through(harness, stores[0])
    return len(stores[0].calls)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_at_any_call_of_the_store_changes_nothing_in_the_end(fault: Fault) -> None:
    for number in range(store_calls()):
        LOG.clear()
        stores: list[FaultStore] = []

        def wrap(store: Any, number: int = number, stores: Any = stores) -> FaultStore:
            stores.append(FaultStore(store, {number: fault}))
            return stores[0]  # type: ignore[no-any-return]

        with Harness(wrap=wrap) as harness:
            run_id = run_through(harness, stores[0])
            where = stores[0].calls[number]
            assert harness.result(run_id) == ["one", "payload", "two"], where
            assert LOG.count("one") <= 2, where
            assert harness.waits(run_id) == {
                "sleep": WaitState.TIMEOUT,
                "go": WaitState.EVENT,
            }, where
            if fault in (Fault.LOST_ACK, Fault.REFUSED):
                assert LOG == ["one", "two"], where


def test_a_run_whose_workers_die_ends_as_crashed(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(deadly))
    for crashes in (1, 2):
        crash(harness, run_id)
        harness.advance(harness.config.heartbeat_timeout)
        harness.sweep()
        assert harness.run(run_id).state is RunState.QUEUED
        assert harness.run(run_id).crashes == crashes
        harness.advance(timedelta(minutes=1))  # a run that kills workers comes back later
    crash(harness, run_id)
    harness.advance(harness.config.heartbeat_timeout)
    harness.sweep()
    assert harness.run(run_id).state is RunState.FAILED
    assert LOG == ["one", "die", "die", "die"]
    with pytest.raises(RunFailed, match="RunCrashed"):
        harness.result(run_id)
    assert [
        letter.run_id for letter in harness.memory.dead_letters.find(DeadLetterFilter(), limit=9)
    ] == [run_id]


def test_a_task_may_say_how_many_workers_it_may_lose(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(deadly, max_crashes=1))
    crash(harness, run_id)
    harness.run_until_idle(harness.config.heartbeat_timeout)
    assert harness.run(run_id).state is RunState.FAILED


def test_the_setting_says_it_for_all_tasks() -> None:
    with Harness(config=Config(max_crashes=2)) as harness:
        run_id = harness.trigger(harness.task(deadly))
        for _ in range(2):
            crash(harness, run_id)
            harness.advance(harness.config.heartbeat_timeout)
            harness.sweep()
        assert harness.run(run_id).state is RunState.FAILED


def test_a_crash_is_no_attempt(harness: Harness) -> None:
    def body() -> int:
        if not LOG:
            LOG.append("crash")
            raise SimulatedCrash
        return 1

    run_id = harness.trigger(harness.task(body, retry=ONCE))
    crash(harness, run_id)
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert harness.run(run_id).attempt == 1


def test_a_lost_worker_need_not_be_waited_for(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(deadly))
    crash(harness, run_id)
    worker = harness.run(run_id).worker
    assert not run_control.recover(harness.engine, run_id, "another worker")
    assert run_control.recover(harness.engine, run_id, worker)
    assert not run_control.recover(harness.engine, run_id, worker)
    assert harness.run(run_id).crashes == 1
    assert harness.dispatcher.nudges[-1].run_id == run_id


def owing(run: object) -> bool:
    return True


@pytest.mark.parametrize("fails", [False, True])
def test_an_end_whose_publishing_was_not_recorded_is_published_again(
    harness: Harness, fails: bool
) -> None:
    def body() -> object:
        note("body")
        if fails:
            raise LookupError("gone")
        return (1, 2)

    task = harness.task(body, retry=ONCE)
    run_id = harness.trigger(task)
    first = execute(harness.engine, run_id, task, publish=owing)
    assert isinstance(first, Finished)
    assert first.owed
    assert execute(harness.engine, run_id, task) == Left(reason="not claimed")
    harness.advance(timedelta(minutes=5))  # the worker died before published()
    harness.sweep()
    assert harness.dispatcher.nudges[-1].run_id == run_id
    again = execute(harness.engine, run_id, task)
    assert isinstance(again, Finished)
    assert (again.state, again.value) == (first.state, None if fails else (1, 2))
    if fails:
        assert isinstance(again.error, RunFailed)
        assert (again.error.kind, again.error.message) == ("LookupError", "gone")
    published(harness.engine, first)  # too late: another worker has it
    assert harness.stored(run_id).published_at is None
    published(harness.engine, again)
    assert harness.stored(run_id).published_at is not None
    assert LOG == ["body"]


def test_an_end_without_callbacks_needs_no_record_of_its_publishing(harness: Harness) -> None:
    task = harness.task(lambda: 1, name="task")
    run_id = harness.trigger(task)
    executed = execute(harness.engine, run_id, task)
    assert isinstance(executed, Finished)
    assert not executed.owed
    published(harness.engine, executed)
    assert harness.stored(run_id).due_at is None


def test_a_queued_run_is_canceled_at_once(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(flow))
    assert harness.cancel(run_id, "changed my mind")
    assert not harness.cancel(run_id)
    [finished] = harness.run_until_idle()
    assert isinstance(finished, Finished)
    assert isinstance(finished.error, RunCanceled)
    assert LOG == []
    with pytest.raises(RunCanceled, match="changed my mind"):
        harness.result(run_id)
    assert harness.stored(run_id).published_at is not None


def test_a_suspended_run_is_canceled_at_once(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(flow))
    harness.run_until_idle(NOW)
    assert harness.cancel(run_id)
    assert harness.waits(run_id) == {"sleep": WaitState.CANCELED}
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.CANCELED


def test_an_executing_run_is_left_at_its_next_boundary(harness: Harness) -> None:
    @step
    def canceling() -> None:
        assert harness.cancel(run_id)

    def body() -> None:
        try:
            canceling()
        finally:
            note("late")

    run_id = harness.trigger(harness.task(body))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert harness.run(run_id).state is RunState.CANCELED
    assert LOG == []


def test_an_ended_run_is_not_canceled(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: 1, name="task"))
    harness.run_until_idle()
    assert not harness.cancel(run_id)
    assert harness.result(run_id) == 1


def test_a_failed_run_is_retried_with_its_checkpoints(harness: Harness) -> None:
    def body() -> str:
        note("one")
        if len(LOG) < 3:
            note.plain("fails")
            raise LookupError
        return "ok"

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=2, jitter=False)))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    harness.retry(run_id)
    assert harness.run(run_id).attempt == 1
    harness.run_until_idle()
    assert harness.result(run_id) == "ok"
    assert LOG == ["one", "fails", "fails"]


def test_a_retried_run_waits_anew_between_its_attempts(harness: Harness) -> None:
    @step(retry=RetryPolicy(max_attempts=2, min_delay=10, jitter=False))
    def failing() -> None:
        LOG.append(str(harness.clock.now))
        raise ConnectionError

    run_id = harness.trigger(harness.task(lambda: failing(), name="task", retry=ONCE))
    harness.run_until_idle()
    harness.retry(run_id)
    start = harness.clock.now
    harness.run_until_idle()
    assert len(LOG) == 4
    assert harness.clock.now - start == timedelta(seconds=10)


def test_only_failed_runs_are_retried(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: 1, name="task"))
    with pytest.raises(IllegalTransition):
        harness.retry(run_id)
    harness.run_until_idle()
    with pytest.raises(IllegalTransition):
        harness.retry(run_id)
    with pytest.raises(RunNotFound):
        harness.retry(uuid4())
    with pytest.raises(RunNotFound, match="no run has the id"):
        harness.run(uuid4())
