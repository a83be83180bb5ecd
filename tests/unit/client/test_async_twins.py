"""Every verb that plain code calls has a twin for code in an event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import trigger_celery
from trigger_celery import asend_event, step
from trigger_celery.errors import InvalidName, RunFailed
from trigger_celery.testing import Harness

# They wait, look at the current run, or declare something: none of them asks the database
# for plain code.
NO_VERBS = {
    "cron",
    "current_run",
    "durable_task",
    "every",
    "gather",
    "heartbeat",
    "now",
    "random",
    "register",
    "sleep",
    "sleep_until",
    "step",
    "uuid4",
    "wait_any",
    "wait_for_event",
    "wait_for_token",
}


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def test_every_verb_has_a_twin_with_its_parameters_and_no_twin_is_left_over() -> None:
    functions = {
        name
        for name in trigger_celery.__all__
        if name.islower() and callable(getattr(trigger_celery, name))
    }
    twins = {name for name in functions if inspect.iscoroutinefunction(_named(name))}
    verbs = functions - twins - NO_VERBS
    assert twins == {f"a{name}" for name in verbs}
    for name in verbs:
        assert inspect.signature(_named(f"a{name}")) == inspect.signature(_named(name))
        assert f"`{name}`" in (_named(f"a{name}").__doc__ or "")


def test_a_twin_returns_and_raises_what_its_verb_does(harness: Harness) -> None:
    assert asyncio.run(asend_event("paid", id="e-1")) == "e-1"
    with pytest.raises(InvalidName):
        asyncio.run(asend_event(""))


def test_the_error_of_a_twin_in_a_body_says_to_await_the_verb_itself(harness: Harness) -> None:
    async def body() -> str:
        return await asend_event("paid")

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    with pytest.raises(RunFailed, match=r"write `await send_event\(\.\.\.\)`"):
        harness.result(run_id)


def test_a_step_awaits_the_twin(harness: Harness) -> None:
    @step
    async def notify() -> str:
        return await asend_event("paid", id="e-1")

    async def body() -> str:
        return await notify()

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "e-1"


def _named(name: str) -> Any:
    return getattr(trigger_celery, name)
