"""What a segment calls: the task's body, bound to the task if it was declared so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celery import Task

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.errors import RetryAfter, RunError
from trigger_celery.vocabulary.checks import duration


def body_of(task: Task[Any, Any], definition: TaskDefinition) -> Callable[..., Any]:
    """Return the body of a durable task, to be called with the run's arguments."""
    if not definition.bound:
        return definition.body
    if definition.is_async:
        return _bound_coroutine(task, definition)
    return lambda *args, **kwargs: definition.body(task, *args, **kwargs)


def _bound_coroutine(task: Task[Any, Any], definition: TaskDefinition) -> Callable[..., Any]:
    """Give the body the worker's request: the event loop runs in a thread without one."""
    request = task.request

    async def body(*args: Any, **kwargs: Any) -> Any:
        task.request_stack.push(request)
        try:
            return await definition.body(task, *args, **kwargs)
        finally:
            task.request_stack.pop()

    return body


def retry_error(
    task: str, cause: Exception | None, *, eta: datetime | None, countdown: float | None
) -> Exception:
    """Return what to raise; without a time it is ``cause``, and the run's policy has the say."""
    if countdown is None and eta is None:
        return cause or RunError(f"task {task!r} asked for a retry")
    delay = duration(countdown or 0, "countdown")
    if eta is not None:
        delay = max(timedelta(0), eta - datetime.now(eta.tzinfo))
    error = RetryAfter(delay, f"task {task!r} asked for a retry")
    error.__cause__ = cause
    return error
