"""Delays between attempts follow one formula, and policies that make no sense are refused."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trigger_celery.backoff import RetryPolicy
from trigger_celery.errors import DeclarationError, InvalidTime, RetryAfter


def test_the_defaults_are_three_attempts_and_up_to_a_minute() -> None:
    policy = RetryPolicy()
    assert (policy.max_attempts, policy.factor, policy.min_delay, policy.max_delay) == (3, 2, 1, 60)
    assert policy.jitter


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    policy = RetryPolicy(factor=3, min_delay=2, max_delay=50, jitter=False)
    delays = [policy.delay(attempt).total_seconds() for attempt in range(1, 6)]
    assert delays == [2, 6, 18, 50, 50]


# The draws are an argument, as hypothesis gives random the same seed for each example.
@given(st.one_of(st.integers(1, 7), st.integers(1, 10**6)), st.floats(0, 1))
@example(1, 0.0)
@example(1, 1.0)
def test_jitter_at_most_doubles_a_delay_and_never_exceeds_the_maximum(
    attempt: int, drawn: float
) -> None:
    base = RetryPolicy(jitter=False).delay(attempt)
    delay = RetryPolicy().delay(attempt, draw=lambda: drawn)
    assert base <= delay <= min(2 * base, timedelta(seconds=60))


def test_a_draw_of_a_half_makes_a_delay_longer_by_half() -> None:
    assert RetryPolicy().delay(3, draw=lambda: 0.5) == timedelta(seconds=6)


def test_no_delay_with_jitter_is_below_the_minimum_whatever_random_draws() -> None:
    policy = RetryPolicy(min_delay=5)
    random.seed(7)
    drawn = [policy.delay(1).total_seconds() for _ in range(1000)]
    assert 5 <= min(drawn) < 5.1
    assert 9.9 < max(drawn) <= 10


def test_jitter_spreads() -> None:
    policy = RetryPolicy()
    assert len({policy.delay(1) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 1.5},
        {"factor": 0.5},
        {"factor": math.inf},
        {"min_delay": -1},
        {"min_delay": math.nan},
        {"max_delay": "60"},
        {"min_delay": 10, "max_delay": 5},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"expected RetryPolicy\.(\w+) to be .*, got: "):
        RetryPolicy(**options)


@pytest.mark.parametrize("delay", [timedelta(seconds=-1), 5, None])
def test_retry_after_wants_a_duration(delay: Any) -> None:
    with pytest.raises(InvalidTime, match="expected RetryAfter's delay"):
        RetryAfter(delay)
