"""A durable call as a routine that asks for its effects, and two ways to carry them out.

The routine is written once. In a ``def`` body its effects happen in place; in an
``async def`` body those that block hop to the worker's own thread (``asgiref``), where the
engine, Django's connection and its context variables live.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Io:
    """A call of the engine that may block."""

    fn: Callable[[], object]


@dataclass(frozen=True, slots=True)
class AllParked:
    """Until parallel branches have come as far as they can; there are none in a ``def`` body."""

    wait: Callable[[], Awaitable[None]]


Effect: TypeAlias = Io | AllParked
Routine: TypeAlias = Generator[Effect, Any, T]


def drive(routine: Routine[T]) -> T:
    """Carry out a routine in this thread and return its value."""
    try:
        effect = next(routine)
        while True:
            try:
                result = None if isinstance(effect, AllParked) else effect.fn()
            except BaseException as error:
                effect = routine.throw(error)
            else:
                effect = routine.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)


async def drive_async(routine: Routine[T]) -> T:
    """Carry out a routine from an event loop and return its value."""
    try:
        effect = next(routine)
        while True:
            try:
                result: object = None
                if isinstance(effect, AllParked):
                    await effect.wait()
                else:
                    result = await in_thread(effect.fn)
            except BaseException as error:
                effect = routine.throw(error)
            else:
                effect = routine.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)


async def in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may block in the worker's own thread, from an event loop."""
    return await sync_to_async(fn, thread_sensitive=True)(*args, **kwargs)
