"""What a segment calls: the task's body, bound to the task if it was declared so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trigger_celery.binding.task import DurableTask


def body_of(task: DurableTask) -> Callable[..., Any]:
    """Return the body of a durable task, to be called with the run's arguments."""
    definition = task.durable
    if definition.is_async:
        return _bound_coroutine(task) if definition.bound else definition.body
    if not definition.bound:
        return definition.body
    return lambda *args, **kwargs: definition.body(task, *args, **kwargs)


def _bound_coroutine(task: DurableTask) -> Callable[..., Any]:
    """Give the body the worker's request: the event loop runs in a thread without one."""
    request = task.request

    async def body(*args: Any, **kwargs: Any) -> Any:
        task.request_stack.push(request)
        try:
            return await task.durable.body(task, *args, **kwargs)
        finally:
            task.request_stack.pop()

    return body
