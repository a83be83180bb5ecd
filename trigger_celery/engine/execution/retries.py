"""Which failures are tried again, and when: the policy of a task or step, and ``catch_error``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from trigger_celery.backoff import ONE_ATTEMPT, RetryPolicy
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.hooks import Caught
from trigger_celery.errors import (
    CodecError,
    DeclarationError,
    NonRetryableError,
    RetryAfter,
    UsageError,
    WaitTimeout,
)
from trigger_celery.vocabulary.records import Run

FINAL = (NonRetryableError, CodecError, DeclarationError, UsageError, WaitTimeout)
"""Failures that would be the same the next time: a mistake in the code, or a recorded outcome."""

_DECIDED = "trigger_decided"
"""Attribute of a failure: the body said whether it is tried again, whatever a policy says."""
E = TypeVar("E", bound=Exception)


def decide(error: E, *, again: bool) -> E:
    """Mark a failure of a body that decides itself whether the run is tried again; return it."""
    setattr(error, _DECIDED, again)
    return error


def is_decided(error: Exception) -> bool:
    """Whether the body, or a step of it, decided whether the run is tried again."""
    return any(hasattr(each, _DECIDED) for each in leaves(error))


def policy_of(task: TaskDefinition | None, default: RetryPolicy | None) -> RetryPolicy:
    """Return how failures of a task are tried again; ``default`` is what the settings say."""
    return (task and task.retry) or default or ONE_ATTEMPT


def leaves(error: Exception) -> Iterator[Exception]:
    """Yield the failures of all branches of a ``TaskGroup``, or the one there is."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def is_retryable(error: Exception) -> bool:
    """Whether another attempt may end differently."""
    return not any(isinstance(each, FINAL) for each in leaves(error))


def retry_delay(policy: RetryPolicy, attempt: int, error: Exception) -> timedelta:
    """How long to wait after attempt number ``attempt`` failed with ``error``."""
    asked = [each.delay for each in leaves(error) if isinstance(each, RetryAfter)]
    return max(asked) if asked else policy.delay(attempt)


def replaced(error: Exception, decided: Caught) -> Exception:
    """Return the failure to be recorded; one that stands in for another names it as its cause."""
    if decided.error is None:
        return error
    if decided.error.__cause__ is None and decided.error not in _chain(error):
        decided.error.__cause__ = error
    return decided.error


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what led to it: the hook may have picked one of these."""
    chain: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and not any(each is known for known in chain):
            chain.append(each)
            left += (each.__cause__, each.__context__)
    return chain


def next_try(
    run: Run,
    task: TaskDefinition,
    error: Exception,
    decided: Caught,
    *,
    default: RetryPolicy | None,
) -> timedelta | datetime | None:
    """Return how long to wait, or until when, before the next attempt; None if there is none.

    ``default`` is the policy of the settings.
    No decision goes beyond the number of attempts but that of the body itself
    (:func:`decide`); an explicit time, duration or policy does
    go beyond what the failure's class says.
    """
    policy = decided.retry or policy_of(task, default)
    attempts = (
        policy.max_attempts if decided.retry else run.spec.max_attempts or policy.max_attempts
    )
    said = {bool(getattr(each, _DECIDED)) for each in leaves(error) if hasattr(each, _DECIDED)}
    if decided.skip_retrying or False in said or (not said and run.attempt >= attempts):
        return None
    if decided.retry_at is not None:
        return decided.retry_at
    if decided.retry_after is not None:
        return decided.retry_after
    if decided.retry is not None:
        return decided.retry.delay(run.attempt)
    if not said and not all(is_retryable(each) and task.retries(each) for each in leaves(error)):
        return None
    return retry_delay(policy, run.attempt, error)
