"""``self.retry()`` in bodies of tasks with ``bind=True``: what Celery means by it, for a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery.exceptions import MaxRetriesExceededError

from trigger_celery.backoff import RetryPolicy
from trigger_celery.engine.execution.retries import decide
from trigger_celery.errors import RetryAfter, UsageError
from trigger_celery.vocabulary.checks import duration

MAX_RETRIES = 3
RETRY_DELAY = 180
"""Celery's defaults, for tasks that say nothing else."""
RUN_ATTEMPTS = "trigger_max_attempts"
"""Attribute of a worker's request: how many attempts this one run may have, if it was said."""


def said_of_retries(options: Mapping[str, Any], policy: RetryPolicy | None) -> dict[str, Any]:
    """Return the attributes of a task that ``self.retry()`` reads.

    ``policy`` is what ``retry=`` declares; without it Celery's own options and defaults hold.
    """
    retries, delay = (
        (MAX_RETRIES, float(RETRY_DELAY))
        if policy is None
        else (policy.max_attempts - 1, policy.min_delay)
    )
    return {
        "declared_retries": options.get("max_retries", retries),
        "default_retry_delay": options.get("default_retry_delay", delay),
        "declared_policy": policy,
    }


def refuse_options(task: str, options: Mapping[str, Any]) -> None:
    """Raise :exc:`UsageError` for what a retry of the same run cannot change."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"task {task!r}: self.retry() takes no {name}=: the next attempt is of the same "
                "run, with its input and its options; trigger another run instead"
            )


def retry_of(
    task: Any,
    cause: Exception | None,
    *,
    eta: datetime | None,
    countdown: float | None,
    max_retries: int | None,
) -> Exception:
    """Return what to raise: what asks for the next attempt or, after the last, the failure."""
    request = task.request
    limit = task.max_retries if max_retries is None else max_retries
    if request.called_directly:
        return cause or RetryAfter(_delay(task, 1, eta, countdown), _text(task, None))
    if limit is not None and request.retries >= limit:
        return decide(cause or _used_up(task), again=False)
    error = RetryAfter(_delay(task, request.retries + 1, eta, countdown), _text(task, cause))
    error.__cause__ = cause
    return decide(error, again=True)


def _delay(task: Any, attempt: int, eta: datetime | None, countdown: float | None) -> timedelta:
    policy: RetryPolicy | None = task.declared_policy
    if eta is not None:
        return max(timedelta(0), eta - datetime.now(eta.tzinfo))
    if countdown is not None:
        return duration(countdown, "countdown")
    return (
        duration(task.default_retry_delay, "default_retry_delay")
        if policy is None
        else (policy.delay(attempt))
    )


def _text(task: Any, cause: Exception | None) -> str:
    because = "" if cause is None else f": {cause!r}"
    return f"task {task.name!r} asked for a retry{because}"


def _used_up(task: Any) -> Exception:
    request = task.request
    return MaxRetriesExceededError(
        f"Can't retry {task.name}[{request.id}] args:{request.args} kwargs:{request.kwargs}",
        task_args=request.args,
        task_kwargs=request.kwargs,
    )
