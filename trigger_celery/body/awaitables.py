"""What a durable call returns in an ``async def`` body: a coroutine that we recognise."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator, Iterable
from types import CoroutineType, TracebackType
from typing import Any, TypeGuard, cast


class DurableCall(Coroutine[Any, Any, Any]):
    """A started durable call: its key is taken, its work begins when it is awaited.

    ``asyncio.gather``, ``TaskGroup`` and ``wait_for`` take it as they take a coroutine.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def send(self, value: Any) -> Any:
        """Continue the coroutine, as the protocol wants."""
        return self._inner.send(value)

    def throw(
        self,
        typ: Any,
        val: Any = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """Raise inside the coroutine, as the protocol wants."""
        return self._inner.throw(typ if val is None else val)

    def close(self) -> None:
        """End the coroutine without running it."""
        self._inner.close()


class Combined(DurableCall):
    """A ``gather()`` or ``wait_any()``: in a task of its own it is a branch, with ``branches``."""

    def __init__(self, inner: Coroutine[Any, Any, Any], branches: Iterable[object]) -> None:
        super().__init__(inner)
        self._branches = branches

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """Raise inside the coroutine; if that has not begun, its branches do not either."""
        if _is_new(self._inner):
            discard(self._branches)
        return super().throw(typ, val, tb)

    def close(self) -> None:
        """End the coroutine without running it, and its branches."""
        if _is_new(self._inner):
            discard(self._branches)
        super().close()


def discard(branches: Iterable[object]) -> None:
    """End branches that the body is not going to await: those that have not begun, and tasks."""
    for branch in branches:
        inner = branch._inner if isinstance(branch, DurableCall) else branch
        if _is_new(inner):
            cast(Coroutine[Any, Any, Any], branch).close()
        elif isinstance(branch, asyncio.Future):
            branch.cancel()


def _is_new(value: object) -> TypeGuard[CoroutineType[Any, Any, Any]]:
    return (
        isinstance(value, CoroutineType)
        and inspect.getcoroutinestate(value) == inspect.CORO_CREATED
    )


def holds_durable_call(values: Iterable[object]) -> bool:
    """Whether a durable call, or a task that may make some, is among these values.

    One level of lists, tuples and sets is looked into. What combines such calls is no step:
    it could not wait for a branch that suspends the run.
    """
    return any(_is_under_way(item) for value in values for item in _members(value))


def _members(value: object) -> Iterable[object]:
    # Not isinstance(): it asks a lazy object for its class, and that loads the object.
    if issubclass(type(value), list | tuple | set | frozenset):
        return cast(Iterable[object], value)
    return (value,)


def _is_under_way(value: object) -> bool:
    return issubclass(type(value), DurableCall | asyncio.Future)
