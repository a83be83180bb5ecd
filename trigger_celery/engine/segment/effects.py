"""A durable call as a routine that asks for its effects, and two ways to carry them out.

The routine is written once. In a ``def`` body its effects happen in place; in an
``async def`` body those that block hop to the worker's own thread (``asgiref``), where the
engine, Django's connection and its context variables live.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from asgiref.sync import sync_to_async

from trigger_celery.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Io:
    """A call of the engine that may block."""

    fn: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Body:
    """A call of user code: a function, or one that returns an awaitable."""

    name: str
    fn: Callable[[], object]
    is_async: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A short pause in the worker."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """Until parallel branches have come as far as they can; there are none in a ``def`` body."""

    wait: Callable[[], Awaitable[None]]


Effect: TypeAlias = Io | Body | Pause | Quiet
Routine: TypeAlias = Generator[Effect, Any, T]


def drive(routine: Routine[T], pause: Callable[[float], None]) -> T:
    """Carry out a routine in this thread and return its value."""
    try:
        effect = next(routine)
        while True:
            try:
                result = _perform(effect, pause)
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
                result = await _perform_async(effect)
            except BaseException as error:
                effect = routine.throw(error)
            else:
                effect = routine.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)


def in_event_loop() -> bool:
    """Whether an event loop runs the calling code."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _perform(effect: Effect, pause: Callable[[float], None]) -> object:
    if isinstance(effect, Pause):
        pause(effect.seconds)
        return None
    if isinstance(effect, Quiet):
        return None
    value = effect.fn()
    if isinstance(effect, Body) and inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise UsageError(
            f"step {effect.name!r} is async but was called by a plain def task: make the task "
            "an async def and await the step"
        )
    return value


async def _perform_async(effect: Effect) -> object:
    if isinstance(effect, Pause):
        await asyncio.sleep(effect.seconds)
        return None
    if isinstance(effect, Quiet):
        await effect.wait()
        return None
    if isinstance(effect, Body) and effect.is_async:
        value = effect.fn()
    else:
        value = await sync_to_async(effect.fn, thread_sensitive=True)()
    if isinstance(effect, Body) and inspect.isawaitable(value):
        return await value
    return value
