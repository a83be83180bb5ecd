"""Failures of steps and runs are tried again as their policies say, and no more often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import durable_task
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import current_run
from trigger_celery.body.steps import step
from trigger_celery.config import Config
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import (
    DeclarationError,
    NonRetryableError,
    RetryAfter,
    UsageError,
    WaitTimeout,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import DeadLetterFilter, DeadLetterOutline
from trigger_celery.vocabulary.states import RunState, WaitState

LOG: list[str] = []
NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def policy(attempts: int, delay: float) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, min_delay=delay, jitter=False)


def failing_until(number: int, error: Exception, **options: Any) -> Any:
    @step(**options)  # type: ignore[untyped-decorator]
    def flaky() -> int:
        LOG.append("flaky")
        if len(LOG) < number:
            raise error
        return len(LOG)

    return flaky


def started(harness: Harness, flaky: Any, **options: Any) -> UUID:
    return harness.trigger(harness.task(lambda: flaky(), name="task", **options))


def dead_letters(harness: Harness) -> list[DeadLetterOutline]:
    return list(harness.memory.dead_letters.find(DeadLetterFilter(), limit=9))


def test_a_step_is_retried_in_the_worker_after_a_short_delay(harness: Harness) -> None:
    flaky = failing_until(3, ValueError("no"), retry=policy(3, 0.2))
    run_id = started(harness, flaky, retry=ONCE)
    start = harness.clock.now
    assert len(harness.run_until_idle(NOW)) == 1
    assert harness.result(run_id) == 3
    assert harness.clock.now - start == timedelta(seconds=0.2 + 0.4)


def test_a_step_suspends_the_run_for_a_long_delay(harness: Harness) -> None:
    flaky = failing_until(3, ValueError("no"), retry=policy(3, 10))
    run_id = started(harness, flaky, retry=ONCE)
    left, *_ = harness.run_until_idle(NOW)
    assert (getattr(left, "reason", ""), left.state) == ("retrying", RunState.SUSPENDED)
    start = harness.clock.now
    assert len(harness.run_until_idle()) == 2
    assert harness.clock.now - start == timedelta(seconds=10 + 20)
    assert harness.result(run_id) == 3


@pytest.mark.parametrize("delay", [0.1, 10])
def test_a_step_is_tried_exactly_max_attempts_times(harness: Harness, delay: float) -> None:
    flaky = failing_until(99, ValueError("no"), retry=policy(4, delay))
    run_id = started(harness, flaky, retry=ONCE)
    harness.run_until_idle()
    assert len(LOG) == 4
    assert harness.run(run_id).state is RunState.FAILED


@pytest.mark.parametrize("delay", [0.1, 10])
def test_a_policy_of_a_step_counts_in_the_life_of_the_run(harness: Harness, delay: float) -> None:
    flaky = failing_until(99, ValueError("no"), retry=policy(5, delay))
    run_id = started(harness, flaky, retry=policy(3, 10))
    harness.run_until_idle()
    assert len(LOG) == 5
    assert (harness.run(run_id).state, harness.run(run_id).attempt) == ("failed", 1)


def test_a_step_with_a_policy_of_one_attempt_is_tried_once(harness: Harness) -> None:
    run_id = started(harness, failing_until(99, ValueError("no"), retry=ONCE), retry=policy(3, 10))
    harness.run_until_idle()
    assert (len(LOG), harness.run(run_id).attempt) == (1, 1)


def test_tries_of_a_step_go_on_counting_in_the_next_attempt_of_the_run(harness: Harness) -> None:
    flaky = failing_until(99, ValueError("no"), retry=policy(3, 10))

    def body() -> None:
        if current_run().attempt == 1:
            try:
                flaky()
            except ValueError:
                raise ConnectionError("the body's own failure") from None
        flaky()

    run_id = harness.trigger(harness.task(body, retry=policy(3, 10)))
    harness.run_until_idle()
    assert len(LOG) == 3
    assert "ValueError" in (harness.stored(run_id).error or "")
    assert harness.run(run_id).attempt == 2


def test_a_retry_by_hand_gives_the_steps_of_a_run_all_their_tries(harness: Harness) -> None:
    flaky = failing_until(7, ValueError("no"), retry=policy(5, 10))
    run_id = started(harness, flaky, retry=policy(3, 10))
    harness.run_until_idle()
    harness.retry(run_id)
    harness.run_until_idle()
    assert harness.result(run_id) == 7


def test_a_bare_task_has_one_attempt(harness: Harness) -> None:
    run_id = started(harness, failing_until(2, ValueError("no")))
    harness.run_until_idle()
    assert (len(LOG), harness.run(run_id).state) == (1, "failed")


@pytest.mark.parametrize("default", [policy(3, 10), {"max_attempts": 3, "min_delay": 10}])
def test_a_setting_says_how_bare_tasks_are_tried_again(default: object) -> None:
    with Harness(config=Config.from_mapping({"DEFAULT_RETRY": default})) as harness:
        run_id = started(harness, failing_until(3, ValueError("no")))
        harness.run_until_idle()
        assert harness.result(run_id) == 3
        once = started(harness, failing_until(9, ValueError("no")), retry=ONCE)
        harness.run_until_idle()
        assert harness.run(once).attempt == 1


def test_a_run_may_ask_for_more_attempts_than_its_bare_task(harness: Harness) -> None:
    flaky = failing_until(3, ValueError("no"))
    task = harness.task(lambda: flaky(), name="task")
    options = TriggerOptions(max_attempts=3)
    run_id = trigger(harness.engine, task, (), {}, options=options)
    harness.run_until_idle()
    assert harness.result(run_id) == 3


def test_max_retries_alone_bounds_what_is_asked_for(harness: Harness) -> None:
    @durable_task(name="fails", bind=True, max_retries=5)
    def fails(self: Any) -> None:
        LOG.append("fails")
        raise ConnectionError("away")

    run_id = harness.trigger(fails)
    harness.run_until_idle()
    assert (len(LOG), harness.run(run_id).attempt) == (1, 1)


def test_a_step_without_a_policy_leaves_retries_to_the_run(harness: Harness) -> None:
    flaky = failing_until(3, ValueError("no"))
    run_id = started(harness, flaky, retry=policy(3, 10))
    assert len(harness.run_until_idle()) == 3
    assert harness.result(run_id) == 3
    assert harness.run(run_id).attempt == 3


def test_a_retried_run_keeps_its_checkpoints(harness: Harness) -> None:
    @step
    def done() -> None:
        LOG.append("done")

    def body() -> str:
        done()
        if current_run().attempt < 3:
            raise ConnectionError("try again")
        return "ok"

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy()))
    harness.run_until_idle()
    assert harness.result(run_id) == "ok"
    assert LOG == ["done"]


def test_the_last_failure_leaves_a_dead_letter(harness: Harness) -> None:
    flaky = failing_until(99, ValueError("no"))
    run_id = started(harness, flaky, retry=policy(2, 10))
    harness.run_until_idle()
    [dead_letter] = dead_letters(harness)
    assert dead_letter.run_id == run_id
    assert dead_letter.group
    assert "ValueError" in (harness.stored(run_id).error or "")
    assert len(LOG) == 2


@pytest.mark.parametrize("delay", [0, 3, 100])
def test_retry_after_overrides_the_delay_of_a_step(harness: Harness, delay: int) -> None:
    wanted = timedelta(seconds=delay)
    flaky = failing_until(2, RetryAfter(wanted), retry=policy(2, 7))
    run_id = started(harness, flaky, retry=ONCE)
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.result(run_id) == 2
    assert harness.clock.now - start == wanted


def test_retry_after_counts_as_an_attempt(harness: Harness) -> None:
    flaky = failing_until(99, RetryAfter(timedelta(seconds=5)), retry=policy(3, 7))
    run_id = started(harness, flaky, retry=ONCE)
    harness.run_until_idle()
    assert len(LOG) == 3
    assert harness.run(run_id).state is RunState.FAILED


def test_retry_after_of_a_body_delays_the_run(harness: Harness) -> None:
    def body() -> int:
        if current_run().attempt == 1:
            raise RetryAfter(timedelta(minutes=7))
        return 1

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy()))
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert harness.clock.now - start == timedelta(minutes=7)


@pytest.mark.parametrize(
    "error",
    [
        NonRetryableError("enough"),
        UsageError("wrong"),
        DeclarationError("wrong"),
        WaitTimeout("late"),
        ExceptionGroup("branches", [ValueError("no"), NonRetryableError("enough")]),
    ],
)
def test_final_failures_end_all_attempts(harness: Harness, error: Exception) -> None:
    flaky = failing_until(99, error, retry=policy(5, 0.1))
    run_id = started(harness, flaky, retry=policy(5, 1))
    harness.run_until_idle()
    assert LOG == ["flaky"]
    assert harness.run(run_id).state is RunState.FAILED
    assert len(dead_letters(harness)) == 1


def test_a_group_waits_for_the_longest_of_its_delays(harness: Harness) -> None:
    short, long = (RetryAfter(timedelta(seconds=each)) for each in (5, 50))

    def body() -> int:
        if current_run().attempt == 1:
            raise ExceptionGroup("branches", [short, ExceptionGroup("inner", [long])])
        return 1

    run_id = harness.trigger(harness.task(body, retry=RetryPolicy()))
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert harness.clock.now - start == timedelta(seconds=50)


def test_a_body_may_go_on_after_a_step_failed(harness: Harness) -> None:
    flaky = failing_until(99, ValueError("no"), retry=policy(2, 0.1))

    def body() -> str:
        try:
            flaky()
        except ValueError as error:
            return f"caught {error}"
        return "?"

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "caught no"
    assert len(LOG) == 2


def test_a_task_may_say_which_failures_it_retries(harness: Harness) -> None:
    flaky = failing_until(99, KeyError("no"))
    started(harness, flaky, retry_for=(LookupError,), no_retry_for=(KeyError,))
    harness.run_until_idle()
    assert len(LOG) == 1


def test_a_value_that_cannot_be_stored_fails_at_once_and_names_its_path(harness: Harness) -> None:
    @step(retry=policy(5, 0.1))
    def charge() -> object:
        LOG.append("charged")
        return {"charge": {"client": object()}}

    run_id = started(harness, charge, retry=policy(5, 1))
    harness.run_until_idle()
    assert LOG == ["charged"]
    error = harness.stored(run_id).error or ""
    assert "EncodeError" in error
    assert "$.charge.client" in error


def test_a_result_that_cannot_be_stored_fails_the_run(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: {"a": [object()]}, name="task"))
    harness.run_until_idle()
    assert harness.run(run_id).attempt == 1
    assert "$.a[0]" in (harness.stored(run_id).error or "")


def test_waits_between_attempts_are_recorded(harness: Harness) -> None:
    flaky = failing_until(99, ValueError("no"), retry=policy(3, 10))
    run_id = started(harness, flaky, retry=ONCE)
    harness.run_until_idle()
    assert harness.waits(run_id) == {
        "~retry/1/flaky": WaitState.TIMEOUT,
        "~retry/2/flaky": WaitState.TIMEOUT,
    }
