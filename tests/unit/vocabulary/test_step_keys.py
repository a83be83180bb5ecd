"""Reserved step keys are parsed as they were built, and no call of a user gets one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery import create_token, wait_for_token
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.errors import InvalidName
from trigger_celery.testing import Harness
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.states import RunState

keys = st.text(min_size=1)
fences = st.integers(min_value=1)


@given(fences, keys)
def test_the_step_of_a_backoff_is_read_from_its_key(fence: int, key: str) -> None:
    assert step_keys.retried_step(step_keys.backoff_of_step(fence, key)) == key
    assert step_keys.retried_step(step_keys.backoff_of_run(fence)) == ""


@given(fences, keys.filter(lambda key: not key.startswith("~")))
def test_the_fan_out_of_a_wait_is_read_from_its_key(fence: int, key: str) -> None:
    assert step_keys.awaited_fan_out(key) == key
    assert step_keys.awaited_fan_out(step_keys.wait_again(fence, key)) == key


@step(key="~retry/1")
def keyed() -> None:
    """Never called: its key is refused."""


@step(key=lambda number: f"~again/{number}")
def keyed_by_its_arguments(number: int) -> None:
    """Never called: its key is refused."""


@pytest.mark.parametrize(
    "call",
    [
        keyed,
        lambda: keyed_by_its_arguments(1),
        lambda: sleep(1, key="~retry/1"),
        lambda: wait_for_event("paid", key="~results/0/a"),
        lambda: wait_for_token(create_token(), key="~let go/a"),
        lambda: step(name="~retry/1")(print),
    ],
)
def test_a_key_of_a_user_that_looks_reserved_is_refused_at_the_call(
    harness: Harness, call: Any
) -> None:
    def body() -> None:
        call()

    run_id = harness.trigger(harness.task(body, name="task", retry=RetryPolicy(max_attempts=1)))
    harness.run_until_idle()
    run = harness.stored(run_id)
    assert run.state is RunState.FAILED
    failure = from_text(run.error or "")
    assert failure.kind.endswith("InvalidName")
    assert "begin with '~'" in failure.message
    assert not any(key.startswith("~") for key in harness.steps(run_id))


def test_a_reserved_key_fails_a_retried_run_by_its_own_name(harness: Harness) -> None:
    def body() -> None:
        with pytest.raises(InvalidName):
            keyed()
        raise ValueError("no")

    policy = RetryPolicy(max_attempts=2, min_delay=5, jitter=False)
    run_id = harness.trigger(harness.task(body, name="task", retry=policy))
    harness.run_until_idle()
    run = harness.stored(run_id)
    assert (run.state, run.attempt) == (RunState.FAILED, 2)
    assert from_text(run.error or "").kind.endswith("ValueError")
