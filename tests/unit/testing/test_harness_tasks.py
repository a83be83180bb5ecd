"""The harness takes tasks as users have them: decorated, bound, with options, with children."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import pytest

from trigger_celery import DurableTask, RetryPolicy, durable_task, every, gather, get_run, step
from trigger_celery.config import Config
from trigger_celery.errors import UsageError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
TWICE = RetryPolicy(max_attempts=2, min_delay=0, jitter=False)
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@durable_task(name="kit-double")
def double(number: int) -> int:
    return 2 * number


@durable_task(name="kit-total")
def total(numbers: list[int]) -> int:
    handles = double.batch_trigger([(number,) for number in numbers])
    seen.append(len(handles))
    return sum(double.batch_trigger_and_wait([(number,) for number in numbers]))


@durable_task(bind=True, name="kit-bound", retry=TWICE)
def bound(self: Any, order_id: int = 0) -> list[Any]:
    seen.append((self.name, self.request.retries, self.request.called_directly))
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("away"))
    return [order_id, self.request.id, self.request.args]


@durable_task(bind=True, name="kit-bound-async")
async def bound_async(self: Any, order_id: int = 0) -> list[Any]:
    return [order_id, self.request.id, self.request.retries]


@pytest.fixture
def hourly() -> DurableTask[[], None]:
    """A scheduled task for one test: other tests of the process store what is declared."""

    @durable_task(name="kit-hourly", schedule=every(timedelta(hours=1)))
    def hourly() -> None:
        seen.append("hour")

    return hourly


def test_a_decorated_task_is_triggered_as_it_is(harness: Harness) -> None:
    run_id = harness.trigger(double, 21)
    harness.run_until_idle()
    assert harness.result(run_id) == 42


def test_a_task_with_options_starts_a_run_that_has_them(harness: Harness) -> None:
    run_id = harness.trigger(double.options(priority=9, tags=["a"], delay=60), number=1)
    harness.run_until_idle(NOW)
    run = harness.run(run_id)
    assert (run.priority, run.tags, run.state) == (9, ("a",), RunState.QUEUED)
    harness.run_until_idle()
    assert harness.result(run_id) == 2


def test_what_is_no_durable_task_is_refused_with_what_to_do(harness: Harness) -> None:
    with pytest.raises(UsageError, match=r"harness\.task\(fn\)"):
        harness.trigger(step, 1)  # type: ignore[arg-type]


def test_the_tasks_of_children_need_no_registration(harness: Harness) -> None:
    run_id = harness.trigger(total, [1, 2, 3])
    harness.run_until_idle()
    assert harness.result(run_id) == 12
    assert seen == [3, 3], "the body was run twice, and its triggers were one step"


def test_a_run_is_what_get_run_gives(harness: Harness) -> None:
    run_id = harness.trigger(double, 21)
    harness.run_until_idle()
    assert harness.run(run_id) == get_run(run_id)
    assert (harness.run(run_id).args, harness.run(run_id).output) == ((21,), 42)


def test_delay_and_trigger_inside_the_block_reach_the_harness(harness: Harness) -> None:
    handle, result = double.trigger(1), double.delay(2)
    harness.run_until_idle()
    assert handle.result() == 2
    assert get_run(result.id).output == 4


def test_the_self_of_a_bound_task_is_its_task_with_a_request_of_the_run(harness: Harness) -> None:
    run_id = harness.trigger(bound, 7)
    harness.run_until_idle()
    assert harness.result(run_id) == [7, str(run_id), [7]]
    assert seen == [("kit-bound", 0, False), ("kit-bound", 1, False)]


def test_an_argument_that_is_left_out_is_not_taken_for_self(harness: Harness) -> None:
    run_id = harness.trigger(bound_async)
    harness.run_until_idle()
    assert harness.result(run_id) == [0, str(run_id), 0]


def test_a_plain_function_can_be_bound_for_one_harness(harness: Harness) -> None:
    def body(self: Any, order_id: int = 0) -> list[Any]:
        return [order_id, self.request.id, self.name]

    run_id = harness.trigger(harness.task(body, bind=True, name="local"), 7)
    harness.run_until_idle()
    assert harness.result(run_id) == [7, str(run_id), "local"]


def test_schedules_of_tasks_hold_once_they_are_added(
    harness: Harness, hourly: DurableTask[[], None]
) -> None:
    harness.trigger(hourly)
    harness.advance(timedelta(hours=2))
    harness.run_until_idle(NOW)
    assert seen == ["hour"]
    harness.add(hourly, double)
    harness.sweep()
    harness.advance(3_600)
    harness.run_until_idle(NOW)
    assert seen == ["hour", "hour"]


def test_without_a_start_the_clock_begins_now() -> None:
    before = datetime.now(UTC)
    assert before <= Harness().clock.now <= datetime.now(UTC)


def test_a_failed_run_is_logged_with_its_traceback(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> None:
        raise LookupError("gone")

    run_id = harness.trigger(harness.task(failing, retry=RetryPolicy(max_attempts=1)))
    with caplog.at_level(logging.WARNING, "trigger_celery.testing"):
        harness.run_until_idle()
    [record] = [each for each in caplog.records if each.name == "trigger_celery.testing"]
    assert record.getMessage() == f"run {run_id} of task 'failing' failed"
    assert "in failing\n" in caplog.text
    assert "LookupError: gone" in caplog.text


def test_two_hundred_harnesses_leave_no_thread_and_no_store() -> None:
    def branches() -> object:
        return gather(lambda: 1, lambda: 2)

    async def waits() -> int:
        return 3

    before, stores = set(threading.enumerate()), []
    for _ in range(200):
        with Harness() as harness:
            harness.trigger(harness.task(branches))
            harness.trigger(harness.task(waits))
            harness.run_until_idle()
        stores.append(weakref.ref(harness.memory))
    del harness
    gc.collect()
    assert set(threading.enumerate()) <= before
    assert [store for store in stores if store() is not None] == []


def calls_during(work: Callable[[], object]) -> int:
    """Return how many calls ``work`` makes, the resumptions of generators among them."""
    count = 0

    def note(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def calls_of(children: int, *, config: Config | None = None, **options: Any) -> int:
    with Harness(config=config) as harness:
        task = harness.task(lambda number: number, name="child", **options)
        harness.sweep()
        for number in range(children):
            harness.trigger(task, number)
        calls = calls_during(harness.run_until_idle)
        assert not harness.memory.queues.lines()
    return calls


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"concurrency_limit": 1},
        {"concurrency_limit": 10},
        {"config": Config(concurrency_limit=3), "concurrency_key": "number"},
    ],
    ids=["no limit", "one at a time", "ten at a time", "three of as many keys at a time"],
)
def test_four_times_as_many_runs_of_a_limited_queue_cost_four_times_as_much(
    options: dict[str, Any],
) -> None:
    assert calls_of(400, **options) < 5 * calls_of(100, **options)
