"""A failure is an outcome: a body that chose its way by one keeps that way."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    RetryPolicy,
    fork_run,
    gather,
    get_run,
    sleep,
    step,
    wait_any,
    wait_for_event,
)
from trigger_celery.body.children import ONE, start_and_wait
from trigger_celery.errors import ChildRunFailed, StepTimeout, WaitTimeout
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun

DAYS = timedelta(days=30)
THREE = RetryPolicy(max_attempts=3, min_delay=10, jitter=False)

CALLS: Counter[str] = Counter()
"""How often each step was really called."""
FAILS: dict[str, int] = {}
"""How often each step fails before it succeeds."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    FAILS.clear()


def _act(name: str) -> str:
    CALLS[name] += 1
    if CALLS[name] <= FAILS.get(name, 0):
        raise ConnectionError(f"{name} is away")
    return name


act = step(name="act")(_act)


@step(name="act")
async def act_async(name: str) -> str:
    return _act(name)


def started(harness: Harness, body: Callable[[], Any], **options: Any) -> UUID:
    options.setdefault("retry", THREE)
    return harness.trigger(harness.task(body, **options))


def finished(harness: Harness, body: Callable[[], Any], **options: Any) -> UUID:
    run_id = started(harness, body, **options)
    harness.run_until_idle()
    return run_id


def free_account() -> str:
    try:
        act("fee")
    except ConnectionError:
        act("free account")
        sleep(DAYS)
        return "free"
    act("paid account")
    return "paid"


async def free_account_async() -> str:
    try:
        await act_async("fee")
    except ConnectionError:
        await act_async("free account")
        await sleep(DAYS)
        return "free"
    await act_async("paid account")
    return "paid"


@pytest.mark.parametrize("body", [free_account, free_account_async])
def test_a_body_that_caught_a_failure_keeps_its_way(harness: Harness, body: Any) -> None:
    FAILS["fee"] = 1
    run_id = finished(harness, body)
    assert harness.result(run_id) == "free"
    assert CALLS == {"fee": 1, "free account": 1}


@pytest.mark.parametrize("body", [free_account, free_account_async])
def test_it_keeps_it_also_in_later_attempts_of_the_run(harness: Harness, body: Any) -> None:
    FAILS.update({"fee": 1, "free account": 2})
    run_id = finished(harness, body)
    assert harness.result(run_id) == "free"
    assert CALLS == {"fee": 1, "free account": 3}
    assert harness.run(run_id).attempt == 3


@pytest.mark.parametrize("body", [free_account, free_account_async])
def test_it_keeps_it_also_when_a_person_retries_the_run(harness: Harness, body: Any) -> None:
    FAILS.update({"fee": 1, "free account": 3})
    run_id = finished(harness, body)
    assert harness.run(run_id).state == "failed"
    harness.retry(run_id)
    harness.run_until_idle()
    assert harness.result(run_id) == "free"
    assert CALLS["fee"] == 1


def test_a_wait_after_a_caught_failure_makes_it_final(harness: Harness) -> None:
    def body() -> str:
        try:
            act("fee")
        except ConnectionError:
            sleep(DAYS)
            return "free"
        return "paid"

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == "free"
    assert CALLS["fee"] == 1


def test_a_run_that_was_started_after_a_caught_failure_makes_it_final(harness: Harness) -> None:
    def child() -> str:
        return act("child")

    task = harness.task(child)

    def body() -> Any:
        try:
            act("fee")
        except ConnectionError:
            return _run(task.name)
        return "paid"

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == "child"
    assert CALLS["fee"] == 1


def _run(task: str) -> Any:
    def build() -> Any:
        return [NewRun(id=new_id(), task=task, input="[[], {}]")]

    return start_and_wait(task, build, 1, ONE, frame=sys._getframe())


def test_a_failure_with_nothing_after_it_is_forgotten_by_the_next_attempt(
    harness: Harness,
) -> None:
    FAILS["fee"] = 2
    run_id = finished(harness, lambda: [act("before"), act("fee")])
    assert harness.result(run_id) == ["before", "fee"]
    assert CALLS == {"before": 1, "fee": 3}


def test_a_failure_that_was_caught_with_nothing_after_it_is_forgotten_too(
    harness: Harness,
) -> None:
    def body() -> str:
        try:
            return act("fee")
        except ConnectionError:
            raise ValueError("no fee") from None

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == "fee"


def saga() -> str:
    booked = []
    try:
        for name in ("flight", "hotel"):
            booked.append(act(name))
    except ConnectionError:
        for name in booked:
            act(f"cancel {name}")
        raise
    return "booked"


async def saga_async() -> str:
    booked = []
    try:
        for name in ("flight", "hotel"):
            booked.append(await act_async(name))
    except ConnectionError:
        for name in booked:
            await act_async(f"cancel {name}")
        raise
    return "booked"


@pytest.mark.parametrize("body", [saga, saga_async])
def test_a_saga_that_raises_again_ends_failed(harness: Harness, body: Any) -> None:
    FAILS["hotel"] = 1
    run_id = finished(harness, body)
    run = harness.run(run_id)
    assert (run.state, run.attempt) == ("failed", 1)
    assert CALLS == {"flight": 1, "hotel": 1, "cancel flight": 1}
    assert run.error is not None
    assert run.error.kind == "ConnectionError"
    assert run.error.notes[0].startswith("This failure is final: the body went on after step 'act")


def test_a_saga_that_raises_from_the_failure_ends_failed_too(harness: Harness) -> None:
    def body() -> str:
        try:
            return act("hotel")
        except ConnectionError as error:
            act("cancel")
            raise ValueError("no trip") from error

    FAILS["hotel"] = 1
    run = harness.run(finished(harness, body))
    assert (run.state, run.attempt) == ("failed", 1)
    assert run.error is not None
    assert (run.error.kind, len(run.error.notes)) == ("ValueError", 1)


def test_a_compensation_that_fails_is_tried_again(harness: Harness) -> None:
    FAILS.update({"hotel": 1, "cancel flight": 1})
    run = harness.run(finished(harness, saga))
    assert (run.state, run.attempt) == ("failed", 2)
    assert CALLS == {"flight": 1, "hotel": 1, "cancel flight": 2}
    assert run.error is not None
    assert "act" in run.error.traceback, "the dead letter shows where it failed the first time"


def test_a_retry_raises_a_final_failure_again_and_a_fork_tries_its_step(
    harness: Harness,
) -> None:
    FAILS["hotel"] = 1
    run_id = finished(harness, saga)
    harness.retry(run_id)
    harness.run_until_idle()
    assert harness.run(run_id).state == "failed"
    assert CALLS["hotel"] == 1
    forked = fork_run(run_id, step="act#2")
    harness.run_until_idle()
    assert get_run(forked).output == "booked"
    assert CALLS == {"flight": 1, "hotel": 2, "cancel flight": 1}


def test_a_fork_behind_a_final_failure_keeps_it(harness: Harness) -> None:
    FAILS["fee"] = 1
    run_id = finished(harness, free_account)
    forked = fork_run(run_id, step="sleep")
    harness.run_until_idle()
    assert get_run(forked).output == "free"
    assert CALLS == {"fee": 1, "free account": 1}


def test_a_persons_retry_notes_what_it_forgets(harness: Harness) -> None:
    FAILS["fee"] = 3
    run_id = finished(harness, lambda: [act("before"), act("fee")])
    harness.retry(run_id)
    [entry] = [each for each in harness.memory.runs.history(run_id) if each.verb == "retry"]
    assert '"forgets": "act#2"' in entry.data
    harness.run_until_idle()
    assert harness.run(run_id).state == "completed"


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_what_failed_in_a_branch_of_gather_is_final_once_the_body_went_on(
    harness: Harness, return_exceptions: bool
) -> None:
    def body() -> str:
        try:
            results = gather(
                lambda: act("fee"),
                lambda: act("mail"),
                return_exceptions=return_exceptions,
                max_parallel=1,
            )
            failed = any(isinstance(each, ConnectionError) for each in results)
        except ConnectionError:
            failed = True
        sleep(DAYS)
        return "free" if failed else "paid"

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == "free"
    assert CALLS == {"fee": 1, "mail": 1}


@pytest.mark.parametrize("combine", ["gather", "asyncio", "group", "task"])
def test_what_failed_in_a_branch_of_an_async_body_is_final_once_it_went_on(
    harness: Harness, combine: str
) -> None:
    async def branch() -> str:
        return await act_async("fee")

    async def body() -> str:
        try:
            if combine == "gather":
                await gather(branch(), act_async("mail"))
            elif combine == "asyncio":
                await asyncio.gather(branch(), act_async("mail"))
            elif combine == "group":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(branch())
                    tasks.create_task(act_async("mail"))
            else:
                task = asyncio.create_task(branch())
                await act_async("mail")
                await task
        except* ConnectionError:
            await sleep(DAYS)
            failed = True
        else:
            failed = False
        await sleep(DAYS)
        return "free" if failed else "paid"

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body, checkpoint="explicit")) == "free"
    assert CALLS["fee"] == 1


def test_a_failure_of_a_task_that_was_not_awaited_yet_is_not_final(harness: Harness) -> None:
    async def branch() -> str:
        return await act_async("fee")

    async def body() -> str:
        task = asyncio.create_task(branch())
        for name in ("one", "two", "three"):
            await act_async(name)
        return await task

    FAILS["fee"] = 1
    run_id = finished(harness, body, checkpoint="explicit")
    assert harness.result(run_id) == "fee"
    assert harness.run(run_id).attempt == 2


def test_a_branch_that_caught_a_failure_keeps_its_way(harness: Harness) -> None:
    def branch() -> str:
        try:
            return act("fee")
        except ConnectionError:
            return "free"

    def body() -> Any:
        found = gather(branch, lambda: act("mail"), max_parallel=1)
        sleep(DAYS)
        return found

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == ["free", "mail"]


def test_while_another_branch_waits_a_failed_one_is_not_tried_again(harness: Harness) -> None:
    def body() -> Any:
        found = gather(
            lambda: act("fee"), lambda: sleep(DAYS), return_exceptions=True, max_parallel=1
        )
        return [type(each).__name__ for each in found]

    FAILS["fee"] = 1
    assert harness.result(finished(harness, body)) == ["ConnectionError", "NoneType"]
    assert CALLS["fee"] == 1


def test_a_failed_race_is_final_once_the_body_went_on(harness: Harness) -> None:
    def body() -> str:
        try:
            wait_any(lambda: act("fee"), lambda: act("other"), max_parallel=1)
        except ConnectionError:
            act("free account")
            sleep(DAYS)
            return "free"
        return "paid"

    FAILS.update({"fee": 1, "other": 1})
    assert harness.result(finished(harness, body)) == "free"
    assert (CALLS["fee"], CALLS["other"]) == (1, 1)


def test_a_step_that_timed_out_stays_so(harness: Harness) -> None:
    @step(timeout=0.05)
    async def slow() -> str:
        CALLS["slow"] += 1
        await asyncio.sleep(5 if CALLS["slow"] == 1 else 0)
        return "slow"

    async def body() -> str:
        try:
            return await slow()
        except StepTimeout:
            await sleep(DAYS)
            return "too slow"

    assert harness.result(finished(harness, body)) == "too slow"
    assert CALLS["slow"] == 1


def test_a_wait_that_timed_out_stays_so(harness: Harness) -> None:
    def body() -> str:
        try:
            wait_for_event("paid", timeout=60)
        except WaitTimeout:
            act("reminder")
            sleep(DAYS)
            return "late"
        return "paid"

    run_id = started(harness, body)
    harness.run_until_idle(timedelta(days=1))
    harness.send_event("paid")
    harness.run_until_idle()
    assert harness.result(run_id) == "late"


def test_a_child_that_failed_stays_so(harness: Harness) -> None:
    FAILS["child"] = 1
    task = harness.task(lambda: act("child"), name="child", retry=RetryPolicy(max_attempts=1))

    def body() -> str:
        try:
            _run(task.name)
        except ChildRunFailed:
            act("without the child")
            sleep(DAYS)
            return "alone"
        return "together"

    assert harness.result(finished(harness, body)) == "alone"
