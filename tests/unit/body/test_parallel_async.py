"""``gather`` in ``async def`` bodies: what differs from threads, and from ``asyncio.gather``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from support.charging import LOG
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.parallel import gather
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
TWICE = RetryPolicy(max_attempts=2, min_delay=1, jitter=False)


@step
async def fetch(number: int) -> int:
    LOG.append(number)
    await asyncio.sleep(0)
    return number


@step
def write(number: int) -> Any:
    LOG.append(number)
    return number


def started(harness: Harness, body: Any, **options: Any) -> Any:
    run_id = harness.trigger(harness.task(body, **options))
    harness.run_until_idle(NOW)
    return run_id


@pytest.mark.parametrize("checkpoint", ["auto", "explicit"])
def test_calls_coroutines_functions_and_tasks_are_branches(
    harness: Harness, checkpoint: str
) -> None:
    async def branch(number: int) -> int:
        first = await fetch(number)
        await sleep(number)
        return first + await fetch(number + 1)

    async def body() -> Any:
        return await gather(
            write(1), branch(10), lambda: branch(20), lambda: 7, asyncio.create_task(branch(30))
        )

    run_id = started(harness, body, checkpoint=checkpoint)
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 21, 41, 7, 61]
    assert sorted(LOG) == [1, 10, 11, 20, 21, 30, 31]
    keys = set(harness.steps(run_id))
    assert {"write", "branch-3/fetch", "branch-4/fetch#2", "branch-1/fetch"} <= keys


def test_the_run_suspends_once_for_all_waits(harness: Harness) -> None:
    async def body() -> Any:
        return await gather(sleep(5), lambda: wait_for_event("go"), fetch(1))

    run_id = started(harness, body)
    assert list(harness.waits(run_id).values()) == [WaitState.WAITING] * 2
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.result(run_id)[2] == 1
    assert LOG == [1]


def test_no_branches_are_no_work(harness: Harness) -> None:
    async def body() -> Any:
        return await gather()

    assert harness.result(started(harness, body)) == []


def test_a_failed_branch_lets_the_others_finish_their_step(harness: Harness) -> None:
    failed = asyncio.Event()

    @step
    async def slow() -> int:
        await failed.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        LOG.append("slow")
        return 1

    @step
    async def fails_once() -> int:
        LOG.append("tried")
        failed.set()
        if LOG.count("tried") == 1:
            raise LookupError
        return 2

    async def body() -> Any:
        return await gather(slow, wait_for_event("go", timeout=1, default=3), fails_once)

    run_id = harness.trigger(harness.task(body, retry=TWICE))
    harness.run_until_idle()
    assert harness.result(run_id) == [1, 3, 2]
    assert LOG.count("slow") == 1
    assert harness.run(run_id).attempt == 2


def test_failures_may_be_results(harness: Harness) -> None:
    @step
    async def bad() -> None:
        raise LookupError("no")

    async def body() -> Any:
        results = await gather(bad, sleep(1), return_exceptions=True)
        return [repr(result) for result in results]

    run_id = started(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == ["LookupError('no')", "None"]


def test_a_body_may_catch_the_failure_and_wait(harness: Harness) -> None:
    @step
    async def bad() -> None:
        raise LookupError("no")

    async def body() -> str:
        try:
            await gather(wait_for_event("never"), bad)
        except LookupError:
            await sleep(5)
        return "went on"

    run_id = started(harness, body)
    assert list(harness.waits(run_id)) == ["sleep"]
    harness.run_until_idle()
    assert harness.result(run_id) == "went on"


def test_two_gathers_that_fail_at_once_do_not_wait_for_each_other(harness: Harness) -> None:
    @step
    async def bad() -> None:
        await asyncio.sleep(0)
        raise LookupError("no")

    async def body() -> None:
        await gather(
            lambda: gather(bad, wait_for_event("a")), lambda: gather(bad, wait_for_event("b"))
        )

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy(max_attempts=1)))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    assert "LookupError" in (harness.stored(run_id).error or "")


def test_asyncio_may_combine_our_gathers(harness: Harness) -> None:
    async def body() -> Any:
        one, two = await asyncio.gather(gather(lambda: fetch(1)), gather(lambda: sleep(5)))
        async with asyncio.TaskGroup() as group:
            three = group.create_task(gather(lambda: fetch(3)))
        return one, two, three.result()

    run_id = started(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == ([1], [None], [3])
    assert {"branch-1/branch-1/fetch", "branch-3/branch-1/fetch"} <= set(harness.steps(run_id))


def test_a_gather_that_is_given_up_ends_its_branches(harness: Harness) -> None:
    async def body() -> str:
        task = asyncio.create_task(gather(wait_for_event("never"), wait_for_event("nor this")))
        await fetch(1)
        task.cancel()
        await sleep(5)
        return "went on"

    run_id = started(harness, body)
    assert list(harness.waits(run_id)) == ["sleep"]
    harness.run_until_idle()
    assert harness.result(run_id) == "went on"


def test_cleaning_up_is_not_interrupted(harness: Harness) -> None:
    async def branch(name: str) -> None:
        try:
            await sleep(60)
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            LOG.append(name)

    async def body() -> None:
        try:
            await gather(branch("a"), branch("b"))
        finally:
            LOG.append("body")

    run_id = started(harness, body, checkpoint="explicit")
    assert harness.run(run_id).state is RunState.SUSPENDED
    assert sorted(LOG) == ["a", "b", "body"]
