"""``catch_error``: a hook that decides what follows a failure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.hooks import TWICE, decides, fail, notes
from trigger_celery import (
    Caught,
    CurrentRun,
    NonRetryableError,
    RetryPolicy,
)
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.segment.outcome import Finished, Left
from trigger_celery.errors import DeclarationError, RunFailed
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState


def attempts(
    harness: Harness, answer: object, body: Callable[[], None] = fail, **options: Any
) -> int:
    """Return how many attempts a run has whose failures get this answer."""
    task = harness.task(body, catch_error=decides(answer), **{"retry": TWICE, **options})
    run_id = harness.trigger(task)
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    assert notes(harness, run_id) == []
    return harness.run(run_id).attempt


def mistake() -> None:
    raise NonRetryableError("never again")


def test_an_answer_of_none_leaves_it_to_the_policy(harness: Harness) -> None:
    assert attempts(harness, None) == 2
    assert attempts(harness, None, mistake) == 1


def test_catch_error_stops_retries(harness: Harness) -> None:
    assert attempts(harness, Caught(skip_retrying=True)) == 1
    assert attempts(harness, NonRetryableError("no use")) == 1


def test_catch_error_replaces_the_policy_and_its_attempts(harness: Harness) -> None:
    assert attempts(harness, RetryPolicy(max_attempts=4, jitter=False)) == 4
    assert attempts(harness, RetryPolicy(max_attempts=4, jitter=False), mistake) == 4


def test_an_explicit_time_has_failures_tried_again_that_else_are_not(harness: Harness) -> None:
    assert attempts(harness, timedelta(seconds=5), mistake) == 2


@pytest.mark.parametrize("aware", [True, False])
def test_catch_error_says_when_the_next_attempt_is(harness: Harness, aware: bool) -> None:
    at = harness.clock.now + timedelta(hours=3)
    answer: object = at if aware else timedelta(hours=3)
    run_id = harness.trigger(harness.task(fail, retry=TWICE, catch_error=decides(answer)))
    executed = harness.execute(run_id)
    assert isinstance(executed, Left)
    assert executed.reason == "retrying"
    assert harness.stored(run_id).due_at == at


def test_a_time_goes_before_a_duration_before_a_policy_and_stopping_before_all(
    harness: Harness,
) -> None:
    at = harness.clock.now + timedelta(hours=3)
    policy = RetryPolicy(max_attempts=9, min_delay=7, max_delay=7, jitter=False)
    everything = Caught(retry_at=at, retry_after=timedelta(hours=2), retry=policy)
    some = Caught(retry_after=timedelta(hours=2), retry=policy)
    expected = [
        (everything, timedelta(hours=3)),
        (some, timedelta(hours=2)),
        (Caught(retry=policy), timedelta(seconds=7)),
    ]
    for number, (answer, delay) in enumerate(expected):
        task = harness.task(fail, name=f"fail{number}", catch_error=decides(answer))
        run_id = harness.trigger(task)
        harness.execute(run_id)
        assert harness.stored(run_id).due_at == harness.clock.now + delay
    stop = Caught(skip_retrying=True, retry_at=at, retry=policy)
    run_id = harness.trigger(harness.task(fail, name="stop", catch_error=decides(stop)))
    harness.execute(run_id)
    assert harness.run(run_id).state is RunState.FAILED


def test_catch_error_replaces_the_error(harness: Harness) -> None:
    seen: list[Exception] = []

    def catch_error(run: CurrentRun, error: Exception) -> Exception:
        seen.append(error)
        return NonRetryableError("the order is gone")

    run_id = harness.trigger(harness.task(fail, catch_error=catch_error))
    harness.run_until_idle()
    assert [type(error) for error in seen] == [LookupError]
    with pytest.raises(RunFailed, match="the order is gone"):
        harness.result(run_id)
    assert "no such order" in (harness.stored(run_id).error or "")


def test_catch_error_may_pick_the_cause_of_the_error(harness: Harness) -> None:
    def wraps() -> None:
        try:
            raise LookupError("no such order")
        except LookupError as error:
            raise RuntimeError("order") from error

    policy = RetryPolicy(max_attempts=1)
    task = harness.task(wraps, retry=policy, catch_error=lambda run, error: error.__cause__)
    executed = execute(harness.engine, harness.trigger(task), task)
    assert isinstance(executed, Finished)
    assert isinstance(executed.error, LookupError)
    assert executed.error.__cause__ is None


def test_an_answer_that_means_nothing_is_an_error_of_the_hook(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(fail, retry=TWICE, catch_error=decides("later")))
    harness.run_until_idle()
    assert harness.run(run_id).attempt == 2
    (first, second) = notes(harness, run_id)
    assert "expected catch_error to return" in first["error"]
    assert first["hook"] == second["hook"] == "catch_error"


@pytest.mark.parametrize(
    "given",
    [
        {"retry_at": datetime(2026, 1, 1)},
        {"retry_at": "tomorrow"},
        {"retry_after": timedelta(seconds=-1)},
        {"retry_after": timedelta.max},
        {"retry_at": datetime.max.replace(tzinfo=UTC)},
        {"retry_after": 5},
        {"retry": 3},
        {"error": KeyboardInterrupt()},
        {"skip_retrying": "yes"},
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=f"Caught.{next(iter(given))}"):
        Caught(**given)
