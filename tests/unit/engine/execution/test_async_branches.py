"""Branches of async bodies: their keys, their failures, and the waits of several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, cast

from support.async_bodies import (
    LOG,
    NOW,
    ONCE,
    charge,
    failure_of,
    fetch,
    finished,
    last_run,
    write,
)
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.errors import NonRetryableError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState


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
