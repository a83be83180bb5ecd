"""The harness carries runs on as workers, beat and time would."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.client.access import install_engine, installed_engine
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import RunError, RunFailed, UnknownTask
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)


@step
def double(value: int) -> int:
    return 2 * value


def plain(value: int) -> int:
    return double(value)


def napping(length: int) -> str:
    sleep(length)
    return "rested"


def patient() -> object:
    return wait_for_event("ready", timeout=60, default="gave up")


def test_a_run_is_carried_to_its_result(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(plain), 21)
    [executed] = harness.run_until_idle()
    assert harness.result(run_id) == 42
    assert harness.steps(run_id) == {"double": 42}
    assert executed.state is harness.run(run_id).state is RunState.COMPLETED


def test_time_jumps_to_what_is_due_and_no_further(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(napping), 3600)
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.result(run_id) == "rested"
    assert harness.waits(run_id) == {"sleep": WaitState.TIMEOUT}
    assert harness.clock.now - start == timedelta(hours=1)


def test_several_runs_are_woken_at_their_own_times(harness: Harness) -> None:
    task = harness.task(napping)
    runs = [harness.trigger(task, length) for length in (30, 10, 20)]
    start = harness.clock.now
    harness.run_until_idle()
    finished = [harness.run(run_id).finished_at for run_id in runs]
    assert finished == [start + timedelta(seconds=length) for length in (30, 10, 20)]


def test_time_stands_still_when_none_is_allowed_to_pass(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(patient))
    start = harness.clock.now
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    assert harness.clock.now == start
    harness.send_event("ready")
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.COMPLETED


def test_what_is_due_after_the_allowed_time_is_left(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(napping), 100)
    harness.run_until_idle(timedelta(seconds=99))
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.run_until_idle(timedelta(seconds=100))
    assert harness.result(run_id) == "rested"


def test_a_wait_without_a_timeout_ends_the_loop(harness: Harness) -> None:
    def waiting() -> None:
        wait_for_event("never")

    run_id = harness.trigger(harness.task(waiting))
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.waits(run_id) == {"never": WaitState.WAITING}
    assert harness.clock.now - start <= harness.config.nudge_interval


def test_limited_runs_are_carried_on_one_after_the_other_in_the_order_of_their_line(
    harness: Harness,
) -> None:
    task = harness.task(napping, concurrency_limit=1)
    harness.sweep()  # stores the limit
    runs = [
        trigger(harness.engine, task, (10,), options=TriggerOptions(priority=priority))
        for priority in (0, 0, 9)
    ]
    left = [executed.run.id for executed in harness.run_until_idle() if executed.run]
    first, second, third = runs
    # The first was let in before the others came. A nap leaves its slot to the next run.
    assert left[:3] == [first, third, second]
    assert sorted(left[3:]) == sorted(runs)
    assert [harness.result(run_id) for run_id in runs] == ["rested"] * 3


def test_runs_of_a_paused_queue_end_the_loop(harness: Harness) -> None:
    task = harness.task(plain, concurrency_limit=1)
    harness.sweep()
    runs = [harness.trigger(task, number) for number in range(2)]
    harness.engine.store.queues.pause("task/plain")
    start = harness.clock.now
    assert harness.run_until_idle() == []
    assert harness.clock.now - start <= 2 * harness.config.nudge_interval
    harness.engine.store.queues.resume("task/plain")
    harness.run_until_idle()
    assert [harness.result(run_id) for run_id in runs] == [0, 2]


def test_a_task_that_is_not_declared_is_an_error(harness: Harness) -> None:
    task = harness.task(plain)
    harness.trigger(task, 1)
    harness.engine.tasks.remove(task.name)
    with pytest.raises(UnknownTask, match="'plain', which is not declared here"):
        harness.run_until_idle()


def test_results_of_runs_without_one_are_errors(harness: Harness) -> None:
    def failing() -> None:
        raise LookupError("gone")

    run_id = harness.trigger(harness.task(failing))
    with pytest.raises(RunError, match="has not ended: it is queued"):
        harness.result(run_id)
    harness.run_until_idle()
    with pytest.raises(RunFailed, match="LookupError: gone"):
        harness.result(run_id)


def test_the_engine_before_is_put_back_also_after_a_failure() -> None:
    def leave(inner: Harness) -> None:
        with inner:
            assert installed_engine() is not None
            raise KeyError

    before = install_engine(None)
    try:
        with pytest.raises(KeyError):
            leave(Harness())
        assert install_engine(None) is None
    finally:
        install_engine(before)


def test_each_harness_has_tasks_of_its_own(harness: Harness) -> None:
    harness.task(plain)
    assert list(Harness().engine.tasks) == []
