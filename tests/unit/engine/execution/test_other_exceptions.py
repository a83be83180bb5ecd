"""Exceptions that are no ``Exception``: of user code they are failures; others end the process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep
from trigger_celery.errors import StepFailed
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

LOG: list[Any] = []


class Halt(BaseException):
    """A user's own, which is no ``Exception``."""


class WorkerShutdown(SystemExit):
    """As Celery's, which a worker that shuts down raises."""


OTHERS = [
    pytest.param(lambda: SystemExit(3), id="exit"),
    pytest.param(lambda: SystemExit("no such order"), id="exit-text"),
    pytest.param(lambda: Halt("stop"), id="own"),
    pytest.param(lambda: GeneratorExit(), id="generator"),
    pytest.param(lambda: asyncio.CancelledError(), id="canceled"),
    pytest.param(lambda: BaseExceptionGroup("two", [Halt(), ValueError()]), id="group"),
]
ENDS = [
    pytest.param(lambda: KeyboardInterrupt(), id="interrupt"),
    pytest.param(lambda: SystemExit(-(256 - 15)), id="terminated"),
    pytest.param(lambda: WorkerShutdown(0), id="shutdown"),
]
Make = Callable[[], BaseException]


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


@step
def note(text: str) -> str:
    LOG.append(text)
    return text


@step(retry=RetryPolicy(max_attempts=2, min_delay=5, jitter=False))
def twice() -> None:
    LOG.append("tried")
    raise MAKE[0]()


@step(retry=RetryPolicy(max_attempts=2, min_delay=5, jitter=False))
async def twice_async() -> None:
    LOG.append("tried")
    raise MAKE[0]()


MAKE: list[Any] = []
"""What makes the exception that a test is about."""


def catching() -> str:
    try:
        twice()
    except StepFailed as error:
        note(error.kind)
    sleep(60)
    return "went on"


async def catching_async() -> str:
    try:
        await twice_async()
    except StepFailed as error:
        await step.run("note", note.plain, error.kind)
    await sleep(60)
    return "went on"


async def catching_a_plain_step() -> str:
    try:
        await step.run("twice", twice.plain)
    except StepFailed as error:
        await step.run("note", note.plain, error.kind)
    await sleep(60)
    return "went on"


def carried(harness: Harness, body: Any, **options: Any) -> Any:
    """Carry a run of the body to its end, of which there must be one."""
    run_id = harness.trigger(harness.task(body, **options))
    ends = [each for each in harness.run_until_idle() if type(each).__name__ == "Finished"]
    assert len(ends) == 1
    return harness.run(run_id)


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("is_async", [False, True])
def test_of_a_body_it_is_a_failure_that_its_policy_tries_again(
    harness: Harness, make: Make, is_async: bool
) -> None:
    def body() -> None:
        note("begun")
        LOG.append("attempt")
        raise make()

    async def async_body() -> None:
        await step.run("note", note.plain, "begun")
        LOG.append("attempt")
        raise make()

    policy = RetryPolicy(max_attempts=2)
    run = carried(harness, async_body if is_async else body, retry=policy)
    assert (run.state, run.attempt, run.crashes) == (RunState.FAILED, 2, 0)
    assert LOG == ["begun", "attempt", "attempt"]
    assert run.error.kind == "RunError"
    assert run.error.message.startswith("the body ")


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("body", [catching, catching_async, catching_a_plain_step])
def test_of_a_step_it_is_a_failure_that_the_body_may_catch_and_keeps(
    harness: Harness, make: Make, body: Any
) -> None:
    MAKE[:] = [make]
    kind = type(make()).__name__
    run = carried(harness, body)
    if (body, kind) == (catching_async, "GeneratorExit"):  # as a coroutine that is closed
        assert (run.state, run.error.kind) == (RunState.FAILED, "RunError")
        return
    assert run.output == "went on"
    tries = 1 if body is catching_a_plain_step else 2
    assert ["tried"] * tries + [kind] == LOG


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("combine", [gather, wait_any])
@pytest.mark.parametrize("is_async", [False, True])
def test_of_a_branch_it_fails_the_body_once(
    harness: Harness, make: Make, combine: Any, is_async: bool
) -> None:
    def branch() -> None:
        raise make()

    def body() -> Any:
        return combine(branch, lambda: sleep(60))

    async def async_body() -> Any:
        return await combine(branch, sleep(60))

    run = carried(harness, async_body if is_async else body)
    assert (run.state, run.attempt, run.crashes) == (RunState.FAILED, 1, 0)
    assert type(make()).__name__ in run.error.message or "canceled" in run.error.message


@pytest.mark.parametrize("make", OTHERS)
def test_of_a_task_of_the_bodys_own_it_fails_the_body_once(harness: Harness, make: Make) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise make()

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(60))

    if type(make()) is asyncio.CancelledError:  # a group lets a canceled task be
        return
    run = carried(harness, body, checkpoint="explicit")
    assert (run.state, run.attempt, run.crashes) == (RunState.FAILED, 1, 0)


@pytest.mark.parametrize("make", ENDS)
@pytest.mark.parametrize("where", ["body", "step", "async body", "async step"])
def test_what_ends_the_process_is_no_failure(harness: Harness, make: Make, where: str) -> None:
    def raises() -> None:
        raise make()

    async def raises_async() -> None:
        raise make()

    def body() -> None:
        if where == "step":
            step.run("raises", raises)
        raises()

    async def async_body() -> None:
        await (step.run("raises", raises) if where == "async step" else raises_async())

    task = harness.task(async_body if "async" in where else body, checkpoint="explicit")
    run_id = harness.trigger(task)
    with pytest.raises(type(make())):
        harness.execute(run_id)
    assert harness.run(run_id).state is RunState.EXECUTING  # its lease will run out


def test_an_exit_in_an_atomic_step_is_its_failure(harness: Harness) -> None:
    @step(atomic=True)
    def fails() -> None:
        sys.exit(1)

    def body() -> None:
        fails()

    run = carried(harness, body)
    assert (run.state, run.error.kind, run.error.message) == (
        RunState.FAILED,
        "StepFailed",
        "SystemExit: 1",
    )


def test_of_a_hook_it_changes_nothing(harness: Harness) -> None:
    def leave(run: Any) -> None:
        sys.exit(1)

    def body() -> str:
        return "done"

    assert carried(harness, body, on_start=leave).output == "done"
