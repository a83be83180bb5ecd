"""Async bodies: awaits are checkpoints, branches keep their keys, waits suspend all of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, cast

import pytest

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import current_run, heartbeat
from trigger_celery.body.steps import step
from trigger_celery.body.values import now, random, uuid4
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.errors import NestedStep, NonRetryableError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

LOG: list[object] = []
NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


async def fetch(number: int) -> int:
    LOG.append(number)
    return number


@step
async def charge(number: int) -> int:
    LOG.append(f"charge {number}")
    await asyncio.sleep(0)
    return number


@step
def write(number: int) -> Any:
    LOG.append(f"write {number}")
    return number


def finished(harness: Harness, body: Any, *args: object, **options: Any) -> Any:
    run_id = harness.trigger(harness.task(body, name="task", **options), *args)
    harness.run_until_idle()
    return harness.result(run_id)


def last_run(harness: Harness) -> Any:
    return harness.run(harness.dispatcher.nudges[-1].run_id)


def failure_of(harness: Harness, body: Any, **options: Any) -> str:
    run_id = harness.trigger(harness.task(body, name="task", **options))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    return harness.stored(run_id).error or ""


def test_each_await_of_a_body_is_a_step(harness: Harness) -> None:
    async def body(start: int) -> list[int]:
        first = await fetch(start)
        await sleep(5)
        second = await fetch(first + 1)
        await sleep(5)
        return [first, second]

    run_id = harness.trigger(harness.task(body), 1)
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 2]
    assert harness.steps(run_id) == {"fetch": 1, "fetch#2": 2}
    assert list(harness.waits(run_id)) == ["sleep", "sleep#2"]
    assert LOG == [1, 2]


def test_primitives_are_awaited_and_recorded(harness: Harness) -> None:
    async def body() -> bool:
        before = [await now(), await uuid4(), await random()]
        event = await wait_for_event("go", timeout=60, default=None)
        LOG.append(before)
        return event is None

    assert finished(harness, body) is True
    assert len(LOG) == 1
    run_id = last_run(harness).id
    assert list(harness.steps(run_id).values()) == LOG[0]


def test_sync_steps_run_on_the_thread_of_the_engine(harness: Harness) -> None:
    thread = threading.current_thread()

    @step
    def where() -> Any:
        LOG.append(threading.current_thread() is thread)

    async def body() -> int:
        await where()
        return cast(int, await write(3))

    assert finished(harness, body) == 3
    assert LOG == [True, "write 3"]


def test_run_is_awaited_with_both_kinds_of_functions(harness: Harness) -> None:
    async def body() -> list[int]:
        plain: Any = step.run("plain", len, "abc")
        return [await step.run("fetched", fetch, 1), await asyncio.wait_for(plain, 5)]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"fetched": 1, "plain": 3}


def test_a_gather_of_plain_coroutines_is_one_step(harness: Harness) -> None:
    async def body() -> object:
        results = await asyncio.gather(fetch(1), fetch(2))
        await sleep(5)
        await asyncio.gather(*[fetch(3)], fetch(4))
        await sleep(5)
        return results

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"asyncio.gather": [1, 2], "asyncio.gather#2": [3, 4]}
    assert LOG == [1, 2, 3, 4]


def test_coroutines_that_a_left_body_hands_over_are_closed(harness: Harness) -> None:
    async def body() -> None:
        try:
            await sleep(5)
        finally:
            await asyncio.gather(fetch(1), fetch(2))

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.COMPLETED
    assert LOG == [1, 2]


def test_a_gather_of_steps_records_each_of_them(harness: Harness) -> None:
    async def body() -> object:
        results = await asyncio.gather(charge(1), charge(2), cast(Awaitable[int], write(3)))
        await sleep(5)
        return results

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 2, 3]
    assert harness.steps(run_id) == {"charge": 1, "charge#2": 2, "write": 3}
    assert len(LOG) == 3


def test_a_gather_of_waits_suspends_once_for_all_of_them(harness: Harness) -> None:
    async def body() -> list[object]:
        short, event = await asyncio.gather(sleep(5), wait_for_event("go"))
        return [short, event.payload]

    run_id = harness.trigger(harness.task(body))
    [left] = harness.run_until_idle(NOW)
    assert left.state is RunState.SUSPENDED
    assert harness.waits(run_id) == {"sleep": WaitState.WAITING, "go": WaitState.WAITING}
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id) == [None, 7]


def test_a_step_beside_a_wait_is_finished_before_the_suspension(harness: Harness) -> None:
    @step
    async def slow() -> int:
        for _ in range(50):
            await asyncio.sleep(0)
        return 1

    async def body() -> object:
        return await asyncio.gather(sleep(5), slow())

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert harness.steps(run_id) == {"slow": 1}


def test_branches_of_a_task_group_keep_their_keys(harness: Harness) -> None:
    async def branch(number: int) -> int:
        first = await step.run("first", fetch, number)
        await sleep(number)
        second = await step.run("second", fetch, number * 10)
        return first + second

    async def body() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(number)) for number in (3, 1, 2)]
        return [task.result() for task in tasks]

    run_id = harness.trigger(harness.task(body))
    assert len(harness.run_until_idle()) == 4
    assert harness.result(run_id) == [33, 11, 22]
    assert sorted(LOG, key=str) == [1, 10, 2, 20, 3, 30]
    assert harness.steps(run_id)["branch-1/second"] == 30
    assert harness.waits(run_id) == {
        f"branch-{number}/sleep": WaitState.TIMEOUT for number in (1, 2, 3)
    }


def test_branches_are_numbered_as_they_are_started(harness: Harness) -> None:
    delays = iter([2, 0, 0, 2])  # which branch gets to its step first differs between two segments

    async def branch(number: int) -> int:
        for _ in range(next(delays)):
            await asyncio.sleep(0)
        await sleep(number)
        return await step.run("fetched", fetch, number)

    async def body() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(number)) for number in (5, 5)]
        return [task.result() for task in tasks]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert set(harness.waits(run_id)) == {"branch-1/sleep", "branch-2/sleep"}
    assert harness.steps(run_id) == {"branch-1/fetched": 5, "branch-2/fetched": 5}


def test_branches_of_branches_have_a_place_of_their_own(harness: Harness) -> None:
    async def leaf(number: int) -> int:
        return await step.run("leaf", fetch, number)

    async def branch(number: int) -> int:
        await step.run("start", fetch, number)
        async with asyncio.TaskGroup() as group:
            leaves = [group.create_task(leaf(number + each)) for each in (1, 2)]
        return sum(task.result() for task in leaves)

    async def body() -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(number)) for number in (10, 20)]
        await sleep(1)
        return sum(task.result() for task in tasks)

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == 11 + 12 + 21 + 22
    assert harness.steps(run_id)["branch-2/branch-1/leaf"] == 21
    assert len(LOG) == 6


def test_tasks_that_a_step_starts_do_not_shift_the_numbers(harness: Harness) -> None:
    async def branch() -> int:
        return await step.run("fetched", fetch, 7)

    async def body() -> int:
        await asyncio.gather(fetch(1), fetch(2))  # on a replay it starts no tasks
        await asyncio.gather(charge(3), charge(4))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(branch())
        await sleep(1)
        return task.result()

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {
        "asyncio.gather": [1, 2],
        "charge": 3,
        "charge#2": 4,
        "branch-1/fetched": 7,
    }
    assert LOG == [1, 2, "charge 3", "charge 4", 7]


def test_waiting_for_tasks_of_the_body_is_no_step(harness: Harness) -> None:
    async def branch(number: int) -> int:
        await sleep(number)
        return await step.run("fetched", fetch, number)

    async def body() -> object:
        tasks = [asyncio.create_task(branch(number)) for number in (1, 2)]
        return await asyncio.gather(*tasks)

    assert finished(harness, body) == [1, 2]
    assert LOG == [1, 2]


def test_gather_may_be_asked_to_return_exceptions(harness: Harness) -> None:
    async def body() -> object:
        results = await asyncio.gather(sleep(1), charge(1), return_exceptions=True)
        LOG.append(results)
        return results

    assert finished(harness, body) == [None, 1]
    assert LOG == ["charge 1", [None, 1]]


def test_a_swallowed_suspension_fails_the_run(harness: Harness) -> None:
    async def body() -> str:
        try:
            await sleep(60)
        except BaseException:
            LOG.append("swallowed")
        return "went on"

    assert "caught the suspension at 'sleep'" in failure_of(harness, body)


def test_the_failure_of_a_branch_is_the_failure_of_the_body(harness: Harness) -> None:
    async def good() -> None:
        await sleep(60)

    async def bad() -> None:
        await step.run("bad", fetch, await charge(1))
        raise NonRetryableError("branch")

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(good())
            group.create_task(bad())

    error = failure_of(harness, body)
    assert "NonRetryableError" in error
    assert last_run(harness).attempt == 1


def test_a_body_may_go_on_when_a_branch_failed(harness: Harness) -> None:
    @step
    async def fail() -> None:
        raise ValueError("no")

    async def body() -> str:
        try:
            await asyncio.gather(fail(), sleep(60))
        except ValueError:
            return "caught"
        return "?"

    assert finished(harness, body) == "caught"


def test_a_branch_that_was_given_up_is_not_waited_for(harness: Harness) -> None:
    async def body() -> int:
        task = asyncio.create_task(cast(Any, wait_for_event("never")))
        slow = charge(1)
        await asyncio.wait_for(slow, 60)
        task.cancel()
        await asyncio.gather(sleep(1), slow_step())
        return 1

    @step
    async def slow_step() -> None:
        LOG.append("slow")
        for _ in range(50):
            await asyncio.sleep(0)

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert list(harness.waits(run_id)) == ["sleep"]
    assert LOG == ["charge 1", "slow"]


def test_a_branch_keeps_its_delay_when_another_wakes_the_run(harness: Harness) -> None:
    @step(retry=RetryPolicy(max_attempts=2, min_delay=60, jitter=False))
    async def flaky() -> int:
        LOG.append(harness.clock.now)
        if len(LOG) < 2:
            raise ConnectionError
        return 5

    async def body() -> object:
        return await asyncio.gather(flaky(), sleep(5))

    assert finished(harness, body) == [5, None]
    first, second = cast(Any, LOG)
    assert second - first == timedelta(seconds=60)


def test_a_step_that_another_branch_interrupts_is_retried_within_its_policy(
    harness: Harness,
) -> None:
    @step(retry=RetryPolicy(max_attempts=3, min_delay=10, jitter=False))
    async def failing() -> None:
        LOG.append("failing")
        raise ConnectionError

    async def naps() -> None:
        for _ in range(20):
            await sleep(1)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(naps())
            group.create_task(cast(Any, failing()))

    failure_of(harness, body, retry=ONCE)
    assert LOG == ["failing"] * 3


def test_explicit_tasks_record_only_what_is_marked(harness: Harness) -> None:
    async def body() -> list[int]:
        first = await fetch(1)
        second = await charge(2)
        await sleep(5)
        return [first, second]

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"charge": 2}
    assert LOG == [1, "charge 2", 1]


def test_a_step_inside_a_step_is_an_error(harness: Harness) -> None:
    async def outer() -> None:
        await charge(1)

    async def body() -> None:
        await outer()

    error = failure_of(harness, body)
    assert NestedStep.__name__ in error
    assert LOG == []


def test_a_body_that_ends_as_canceled_has_failed(harness: Harness) -> None:
    async def body() -> None:
        raise asyncio.CancelledError

    assert "the body ended as canceled" in failure_of(harness, body, retry=ONCE)


def test_a_durable_call_that_is_not_awaited_is_warned_of_by_name(harness: Harness) -> None:
    async def body() -> None:
        cast(Any, charge)(1)

    with pytest.warns(RuntimeWarning, match="coroutine 'charge' was never awaited"):
        finished(harness, body)


def test_what_a_body_leaves_running_ends_with_the_segment(harness: Harness) -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def body() -> None:
        LOG.append(asyncio.create_task(forever()))
        await asyncio.sleep(0)

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.COMPLETED
    assert ended == ["ended"]


def test_a_heartbeat_leaves_the_thread_of_the_loop(harness: Harness) -> None:
    released: list[int] = []
    harness.memory.release = lambda: released.append(threading.get_ident())  # type: ignore[method-assign]

    async def beat() -> int:
        heartbeat()
        return threading.get_ident()

    async def body() -> int:
        return await beat()

    loop_thread = finished(harness, body)
    assert len(released) == 1
    assert released[0] != loop_thread


def test_a_worker_that_shuts_down_lets_running_steps_finish(harness: Harness) -> None:
    @step
    async def slow() -> int:
        harness.engine.draining = lambda: True
        for _ in range(20):
            await asyncio.sleep(0)
        return 1

    async def late() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await charge(2)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(cast(Any, slow()))
            group.create_task(late())

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.QUEUED
    assert harness.steps(run_id) == {"slow": 1}
    assert LOG == []


def test_the_run_is_known_in_all_parts_of_a_body(harness: Harness) -> None:
    async def inner() -> list[object]:
        return [current_run().step_key]

    async def body() -> list[object]:
        return [current_run().step_key, *await inner()]

    assert finished(harness, body) == [None, "inner"]


def test_nothing_is_logged_by_asyncio_for_suspended_branches(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(cast(Any, sleep(1)))
            group.create_task(cast(Any, sleep(2)))
        await asyncio.gather(sleep(1), sleep(2))

    with caplog.at_level(logging.WARNING):
        finished(harness, body)
    assert [record for record in caplog.records if record.name == "asyncio"] == []
