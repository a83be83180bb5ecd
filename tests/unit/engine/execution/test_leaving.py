"""Leaving an async body: a parked branch has no result, and no caller sees the suspension."""

from __future__ import annotations

import asyncio
import gc
import logging
from datetime import timedelta
from typing import Any, cast

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import LeaseLost
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

LOG: list[Any] = []
NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


@step
async def charge(number: int) -> int:
    LOG.append(f"charge {number}")
    await asyncio.sleep(0)
    return number


async def several_ticks() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def first_segment(harness: Harness, body: Any, **options: Any) -> Any:
    """Carry the body until it is left for the first time; return its run."""
    run_id = harness.trigger(harness.task(body, checkpoint="explicit", **options))
    harness.run_until_idle(NOW)
    return harness.stored(run_id)


async def both(wait: Any) -> object:
    return await asyncio.gather(wait, charge(1), return_exceptions=True)


async def in_a_task_group(wait: Any) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(both(wait))
    return task.result()


async def in_asyncio_wait(wait: Any) -> object:
    [task], _ = await asyncio.wait({asyncio.create_task(both(wait))})
    return task.result()


async def behind_a_shield(wait: Any) -> object:
    return await asyncio.shield(both(wait))


@pytest.mark.parametrize("combine", [both, in_a_task_group, in_asyncio_wait, behind_a_shield])
def test_a_parked_branch_never_has_a_result(harness: Harness, combine: Any) -> None:
    async def body() -> None:
        LOG.append(await combine(wait_for_event("go")))
        await sleep(1)

    run = first_segment(harness, body)
    assert run.state is RunState.SUSPENDED
    assert LOG == ["charge 1"]
    harness.send_event("go", 7)
    harness.run_until_idle()
    assert harness.run(run.id).state is RunState.COMPLETED
    [event, number] = LOG[1]
    assert (event.payload, number) == (7, 1)
    assert LOG[0] == "charge 1"
    assert len(LOG) == 3  # the body passed the place once more after its sleep


def test_the_first_of_several_branches_is_a_real_one(harness: Harness) -> None:
    async def body() -> None:
        waits = [asyncio.create_task(cast(Any, sleep(number))) for number in (60, 5)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        LOG.append([waits.index(task) for task in done])

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.run_until_idle(timedelta(seconds=10))
    assert harness.run(run_id).state is RunState.COMPLETED
    assert LOG == [[1]]


def test_a_main_line_that_cleans_up_may_wait_for_its_branches(harness: Harness) -> None:
    async def body() -> None:
        task = asyncio.create_task(cast(Any, wait_for_event("go")))
        try:
            await sleep(60)
        finally:
            await task

    assert first_segment(harness, body).state is RunState.SUSPENDED


def test_cleaning_up_is_not_interrupted(harness: Harness) -> None:
    async def branch(name: str) -> None:
        try:
            await sleep(60)
        finally:
            await several_ticks()
            LOG.append(name)

    async def body() -> None:
        try:
            await asyncio.gather(branch("a"), branch("b"))
        finally:
            await several_ticks()
            LOG.append("body")

    assert first_segment(harness, body).state is RunState.SUSPENDED
    assert sorted(LOG) == ["a", "b", "body"]


def test_a_step_in_finally_of_a_branch_does_not_run_early(harness: Harness) -> None:
    async def branch() -> None:
        try:
            await sleep(60)
        finally:
            await charge(1)

    async def body() -> object:
        return await asyncio.gather(branch(), branch(), return_exceptions=True)

    run = first_segment(harness, body)
    assert run.state is RunState.SUSPENDED
    assert LOG == []
    harness.run_until_idle()
    assert harness.result(run.id) == [None, None]


def test_a_swallowed_cancellation_is_noticed_at_the_next_boundary(harness: Harness) -> None:
    async def body() -> None:
        for _ in range(2):
            try:
                await asyncio.gather(sleep(60), charge(1))
            except BaseException as error:
                LOG.append(type(error).__name__)

    run = first_segment(harness, body)
    assert run.state is RunState.FAILED
    assert "SuspensionSwallowed" in run.error
    assert LOG == ["charge 1", "CancelledError", "Suspension"]


def test_what_a_body_returns_over_a_cancellation_is_dropped(harness: Harness) -> None:
    async def body() -> object:
        try:
            return await asyncio.gather(sleep(60), charge(1))
        except asyncio.CancelledError:
            return "early"

    run = first_segment(harness, body)
    assert run.state is RunState.SUSPENDED
    harness.run_until_idle()
    assert harness.result(run.id) == [None, 1]


def test_a_lease_lost_in_a_branch_is_no_result_either(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose() -> None:
        monkeypatch.setattr(Holding, "check", _lost)
        await charge(2)

    async def wait_for_both() -> None:
        tasks = [asyncio.create_task(lose()), asyncio.create_task(several_ticks())]
        LOG.append(await asyncio.gather(*tasks, return_exceptions=True))

    async def body() -> None:
        await asyncio.wait({asyncio.create_task(wait_for_both())})
        LOG.append("went on")

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.reason == "lease lost"
    assert LOG == []


def _lost(self: Holding) -> None:
    raise LeaseLost("gone")


@pytest.mark.filterwarnings("error")
def test_nothing_is_logged_for_branches_that_no_code_awaits(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        LOG.append(asyncio.gather(sleep(1), wait_for_event("go")))
        LOG.append(asyncio.create_task(both(sleep(2))))
        await sleep(60)

    with caplog.at_level(logging.WARNING):
        assert first_segment(harness, body).state is RunState.SUSPENDED
        LOG.clear()
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_other_errors_of_forgotten_branches_are_still_logged(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("forgotten")

    async def body() -> None:
        LOG.append(asyncio.create_task(fail()))
        await sleep(60)

    with caplog.at_level(logging.WARNING):
        assert first_segment(harness, body).state is RunState.SUSPENDED
        LOG.clear()
        gc.collect()
    assert "Task exception was never retrieved" in caplog.text
