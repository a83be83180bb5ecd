"""What asyncio's time limits do around durable calls."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import gather, sleep, step, wait_any, wait_for_event
from trigger_celery.testing import Harness

CALLS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


def finished(harness: Harness, body: Callable[[], Any]) -> UUID:
    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.run_until_idle()
    return run_id


@step
async def mail() -> str:
    CALLS["mail"] += 1
    return "mailed"


@step
def slow() -> str:
    CALLS["slow"] += 1
    time.sleep(0.2)
    return "slow"


async def timed(wait: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.timeout(60):
        await wait


async def plain(wait: Coroutine[Any, Any, Any]) -> None:
    await wait


WAYS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "timeout": lambda: timed(sleep(3600)),
    "wait_for": lambda: asyncio.wait_for(sleep(3600), 60),
    "wait_for a helper": lambda: asyncio.wait_for(plain(sleep(3600)), 60),
    "event": lambda: asyncio.wait_for(wait_for_event("paid"), 60),
    "wait_for a gather": lambda: asyncio.wait_for(asyncio.gather(sleep(3600), mail()), 60),
    "asyncio.gather": lambda: timed(asyncio.gather(plain(sleep(3600)), mail())),  # type: ignore[arg-type]
    "gather": lambda: timed(gather(plain(sleep(3600)), mail())),
    "wait_any": lambda: timed(wait_any(plain(sleep(3600)), plain(sleep(7200)))),
    "nested": lambda: timed(plain(timed(sleep(3600)))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_time_limit_around_a_durable_wait_is_refused(harness: Harness, way: str) -> None:
    async def body() -> None:
        await WAYS[way]()

    run = harness.run(finished(harness, body))
    assert run.state == "failed"
    assert run.error is not None
    assert run.error.kind == "UsageError"
    assert "timeout=" in run.error.message
    assert "wait_any" in run.error.message
    assert harness.waits(run.id) == {}


def test_a_time_limit_in_a_task_group_around_a_durable_wait_is_refused(harness: Harness) -> None:
    async def body() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(plain(sleep(3600)))

    run = harness.run(finished(harness, body))
    assert run.error is not None
    assert "asyncio.timeout()" in run.error.traceback


def test_a_time_limit_beside_a_durable_wait_is_none_around_it(harness: Harness) -> None:
    async def body() -> str:
        waiting = asyncio.create_task(plain(sleep(3600)))
        async with asyncio.timeout(60):
            await asyncio.sleep(0.01)
            await mail()
        await asyncio.wait_for(mail(), 60)
        async with asyncio.timeout(None):
            await waiting
        await sleep(3600)
        return "done"

    assert harness.result(finished(harness, body)) == "done"


@pytest.mark.parametrize("atomic", [False, True])
def test_a_body_that_gives_up_a_step_is_not_inside_it(harness: Harness, atomic: bool) -> None:
    @step(name="slow", atomic=atomic)
    def given_up() -> str:
        time.sleep(0.2)
        return "slow"

    async def body() -> str:
        try:
            async with asyncio.timeout(0.05):
                await given_up()
        except TimeoutError:
            return await mail()
        return "in time"

    run_id = finished(harness, body)
    assert harness.result(run_id) == "mailed"
    assert harness.steps(run_id)["mail"] == "mailed"


async def notify() -> str:
    CALLS["notify"] += 1
    return "notified"


def test_a_plain_call_after_a_step_that_was_given_up_is_recorded(harness: Harness) -> None:
    async def body() -> str:
        with suppress(TimeoutError):
            await asyncio.wait_for(slow(), 0.05)  # type: ignore[arg-type]  # a def, awaited
        answer = await notify()
        await sleep(3600)
        return answer

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "notified"
    assert CALLS["notify"] == 1
