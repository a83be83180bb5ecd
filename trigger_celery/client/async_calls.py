"""Async twins: a verb ``do`` is ``await ado(...)`` in code that runs in an event loop.

A twin is made of its verb by :func:`twin`, has its parameters and its result, and raises
what it raises. The verb runs by asgiref's rules for the ORM: in the one thread that Django
keeps for the calls of a request (``thread_sensitive``), with the caller's context variables.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, ParamSpec, TypeVar, overload

from asgiref.sync import sync_to_async

from trigger_celery.body.both_styles import Durable
from trigger_celery.body.context import current_session
from trigger_celery.body.steps import is_durable, primitive
from trigger_celery.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a verb in a thread that may wait for the database.

    Raises :exc:`UsageError` in a task's body for a verb that is a step there.
    """
    session = current_session()
    if session is not None and not session.in_step and is_durable(verb):
        name = getattr(verb, "__name__", "")
        raise UsageError(
            f"a{name}() is for async code outside of durable tasks, and for steps: in a task's "
            f"body write `await {name}(...)`, which is recorded"
        )
    return await sync_to_async(verb, thread_sensitive=True)(*args, **kwargs)


@overload
def twin(verb: Callable[P, Durable[R]]) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def twin(verb: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]: ...


def twin(verb: Callable[P, Any]) -> Callable[P, Coroutine[Any, Any, Any]]:
    """Return the async twin of a verb."""

    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        return await in_thread(verb, *args, **kwargs)

    name = verb.__name__
    call.__name__ = call.__qualname__ = f"a{name}"
    call.__module__ = verb.__module__
    call.__annotations__ = dict(verb.__annotations__)
    call.__signature__ = signature(verb)  # type: ignore[attr-defined]  # functions take attributes
    call.__doc__ = f"Do what :func:`{name}` does, in async code: ``await a{name}(...)``."
    return primitive(call) if is_durable(verb) else call
