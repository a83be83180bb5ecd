"""Whether and when a failed run is tried again: by its task's policy or by ``catch_error``."""

from __future__ import annotations

from datetime import datetime, timedelta

from trigger_celery.authoring.definition import TaskDefinition
from trigger_celery.authoring.hooks import Caught
from trigger_celery.engine.policy import is_retryable, leaves, retry_delay
from trigger_celery.records import Run


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
    run: Run, task: TaskDefinition, error: Exception, decided: Caught
) -> timedelta | datetime | None:
    """Return how long to wait, or until when, before the next attempt; None if there is none.

    No decision goes beyond the number of attempts; an explicit time, duration or policy does
    go beyond what the failure's class says.
    """
    policy = decided.retry or task.retry
    attempts = policy.max_attempts if decided.retry else run.max_attempts or policy.max_attempts
    if decided.skip_retrying or run.attempt >= attempts:
        return None
    if decided.retry_at is not None:
        return decided.retry_at
    if decided.retry_after is not None:
        return decided.retry_after
    if decided.retry is not None:
        return decided.retry.delay(run.attempt)
    if not all(is_retryable(each) and task.retries(each) for each in leaves(error)):
        return None
    return retry_delay(policy, run.attempt, error)
