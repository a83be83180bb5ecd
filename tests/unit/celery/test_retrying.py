"""``self.retry()`` and what a body with ``bind=True`` reads of its retries: as in Celery."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from celery.exceptions import MaxRetriesExceededError

from trigger_celery import RetryPolicy, current_run, durable_task, step
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


def carried(harness: Harness, task: Any, **options: Any) -> Any:
    """Start a run and carry it to its end."""
    run_id = UUID(task.apply_async(**options).id)
    harness.run_until_idle()
    return harness.run(run_id)


def test_the_give_up_idiom_gives_up_at_the_last_try(harness: Harness) -> None:
    tries: list[tuple[int, int]] = []

    @durable_task(name="gives-up", bind=True, max_retries=2, default_retry_delay=5)
    def gives_up(self: Any) -> str:
        tries.append((self.request.retries, self.max_retries))
        if self.request.retries >= self.max_retries:
            return "gave up"
        raise self.retry(exc=ConnectionError("away"))

    assert carried(harness, gives_up).output == "gave up"
    assert tries == [(0, 2), (1, 2), (2, 2)]
    assert gives_up.default_retry_delay == 5


@pytest.mark.parametrize(
    ("options", "retries", "delay"),
    [
        ({}, 3, 180),
        ({"max_retries": 7}, 7, 180),
        ({"max_retries": None, "default_retry_delay": 2}, None, 2),
        ({"retry": RetryPolicy(max_attempts=5, min_delay=4)}, 4, 4),
    ],
)
def test_a_task_has_the_attributes_that_celerys_has(
    options: dict[str, Any], retries: int | None, delay: float
) -> None:
    @durable_task(name="attributes", **options)  # type: ignore[untyped-decorator]
    def task() -> None: ...

    assert (task.max_retries, task.default_retry_delay) == (retries, delay)


def test_a_bare_bound_task_may_ask_three_times(harness: Harness) -> None:
    tries: list[int] = []

    @durable_task(name="bare-retries", bind=True)
    def bare(self: Any) -> None:
        tries.append(self.request.retries)
        self.retry(countdown=1)

    run = carried(harness, bare)
    assert (run.state, run.error.kind.rpartition(".")[2]) == (
        RunState.FAILED,
        MaxRetriesExceededError.__name__,
    )
    assert tries == [0, 1, 2, 3]


def test_the_last_retry_raises_what_it_was_given_whatever_the_policy(harness: Harness) -> None:
    tries: list[int] = []

    @durable_task(name="own-limit", bind=True, retry=RetryPolicy(max_attempts=9))
    def own_limit(self: Any) -> None:
        tries.append(self.request.retries)
        try:
            raise LookupError("no order")
        except LookupError as error:
            raise self.retry(exc=error, countdown=1, max_retries=1) from None

    run = carried(harness, own_limit)
    assert run.state is RunState.FAILED
    assert "no order" in run.error.message
    assert tries == [0, 1]


def test_a_retry_that_is_asked_for_goes_beyond_the_policy_of_failures(harness: Harness) -> None:
    @durable_task(name="beyond", bind=True, max_retries=4, default_retry_delay=1)
    def beyond(self: Any) -> int:
        if self.request.retries < 4:
            self.retry(exc=ValueError("not retried by itself"))
        return int(self.request.retries)

    assert carried(harness, beyond).output == 4


def test_a_runs_own_max_attempts_are_its_max_retries(harness: Harness) -> None:
    @durable_task(name="run-limit", bind=True, max_retries=9, default_retry_delay=1)
    def run_limit(self: Any) -> list[int]:
        if self.request.retries < self.max_retries:
            self.retry()
        return [self.request.retries, self.max_retries]

    assert carried(harness, run_limit, max_attempts=2).output == [1, 1]


@pytest.mark.parametrize(
    "options",
    [{"args": (2,)}, {"kwargs": {"n": 2}}, {"queue": "slow"}, {"throw": False}],
)
def test_what_would_change_the_run_is_refused(harness: Harness, options: dict[str, Any]) -> None:
    @durable_task(name="changing", bind=True)
    def changing(self: Any, n: int = 1) -> None:
        self.retry(countdown=1, **options)

    run = carried(harness, changing)
    assert (run.state, run.attempt) == (RunState.FAILED, 1)
    assert f"takes no {next(iter(options))}=" in run.error.message


@pytest.mark.parametrize("kind", ["def", "async def", "async step"])
def test_a_retry_that_a_step_asks_for_is_of_the_run_whatever_the_policy_of_the_step(
    harness: Harness, kind: str
) -> None:
    tries: list[tuple[int, int]] = []
    generous = RetryPolicy(max_attempts=9, min_delay=1)

    def push(task: Any) -> None:
        tries.append((current_run().attempt, task.request.retries))
        try:
            raise ConnectionError("away")
        except ConnectionError as error:
            raise task.retry(exc=error, countdown=5) from None

    @step(retry=generous)
    async def push_async(task: Any) -> None:
        push(task)

    @durable_task(name="retries-in-step", bind=True, max_retries=2)
    def retries(self: Any) -> None:
        step(retry=generous)(push)(self)

    @durable_task(name="retries-in-step-async", bind=True, max_retries=2)
    async def retries_async(self: Any) -> None:
        if kind == "async step":
            await push_async(self)
        else:
            await step.run("push", push, self)

    before = harness.clock.now
    run = carried(harness, retries if kind == "def" else retries_async)
    assert (run.state, run.attempt) == (RunState.FAILED, 3)
    assert run.error.message == "away"
    assert tries == [(1, 0), (2, 1), (3, 2)]
    assert (harness.clock.now - before).total_seconds() >= 10
