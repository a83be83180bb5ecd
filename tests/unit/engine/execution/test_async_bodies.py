"""Async bodies: awaits are checkpoints, branches keep their keys, waits suspend all of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, cast

import pytest

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
from trigger_celery.body.context import current_run, heartbeat
from trigger_celery.body.steps import step
from trigger_celery.body.values import now, random, uuid4
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.errors import NestedStep
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


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
