"""What a body gets of a failed step is the same the first time and at each replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import RetryPolicy, sleep, step
from trigger_celery.errors import StepFailed
from trigger_celery.testing import Harness

DAYS = timedelta(days=30)
THREE = RetryPolicy(max_attempts=3, min_delay=10, jitter=False)
CALLS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


def finished(harness: Harness, body: Callable[[], Any], **options: Any) -> UUID:
    run_id = harness.trigger(harness.task(body, retry=THREE, **options))
    harness.run_until_idle()
    return run_id


class Declined(Exception):
    """A failure with a constructor that asks for more than its arguments say."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"declined with {code}")
        self.code = code
        self.reason = reason
        self.connection = object()


@step
def decline() -> None:
    CALLS["decline"] += 1
    raise Declined(7, reason="no money") from KeyError("account")


@pytest.mark.parametrize("again", [False, True])
def test_a_failure_is_raised_as_every_replay_raises_it(harness: Harness, again: bool) -> None:
    def body() -> Any:
        try:
            decline()
        except Declined as error:
            seen = [
                str(error),
                error.args,
                error.code,
                error.reason,
                hasattr(error, "connection"),
                repr(error.__cause__),
            ]
        if again:
            sleep(DAYS)
        return seen

    raised = ["declined with 7", ("declined with 7",), 7, "no money", False, "KeyError('account')"]
    assert harness.result(finished(harness, body)) == raised
    assert CALLS["decline"] == 1


def test_a_failure_of_a_class_without_a_name_is_a_step_failed(harness: Harness) -> None:
    class Local(Exception):
        pass

    @step
    def fail() -> None:
        raise Local("no name")

    def body() -> Any:
        try:
            fail()
        except StepFailed as error:
            seen = [error.kind.rpartition(".")[2], error.message, str(error).endswith("no name")]
        sleep(DAYS)
        return seen

    assert harness.result(finished(harness, body)) == ["Local", "no name", True]


def test_a_class_without_a_name_is_tried_again_by_the_runs_policy(harness: Harness) -> None:
    class Local(Exception):
        pass

    @step
    def fail() -> str:
        CALLS["fail"] += 1
        if CALLS["fail"] < 3:
            raise Local("no name")
        return "third"

    assert harness.result(finished(harness, fail, retry_for=(Local,))) == "third"
