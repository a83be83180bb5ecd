"""What a segment calls: the task's body, bound to the task if it was declared so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Task

from trigger_celery.authoring.definition import TaskDefinition


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
