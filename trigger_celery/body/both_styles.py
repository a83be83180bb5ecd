"""What type checkers see of a durable call: its value, which an ``async def`` body awaits.

One name serves both styles of bodies, and no checker knows in which of them a call stands. So
what a call returns is typed as its value *and* as an awaitable of it:

* ``Event``, ``Token`` and ``RunHandle`` are declared awaitable for checkers alone;
* times, ids, texts, lists and tuples are subclasses that can be awaited, as below;
* a value of any other type, as the result of a task, is a :class:`Durable`;
* a wait whose ``default`` is ``None`` is ``Any``: pyright takes ``is None`` of a :class:`Durable`
  for always false.

Nothing is an instance of these classes: a ``def`` body gets the plain value.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from datetime import datetime
from typing import Any, TypeVar, TypeVarTuple
from uuid import UUID

T = TypeVar("T")
R = TypeVar("R", covariant=True)
Ts = TypeVarTuple("Ts")

# There is no type for "R and an awaitable of R" where R may be any class.
_AnyClass: Any = object


class Durable(Coroutine[Any, Any, R], _AnyClass):  # type: ignore[misc]  # on purpose, see above
    """An ``R``: exactly one once it is awaited, anything at all where it is not.

    In a ``def`` body ``cast(int, add.trigger_and_wait(2))`` has the type checked from there on.
    """

    def __await__(self) -> Generator[Any, Any, R]:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise NotImplementedError


class DurableDatetime(datetime, Coroutine[Any, Any, datetime]):
    """A ``datetime``, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, datetime]:
        raise NotImplementedError


class DurableUUID(UUID, Coroutine[Any, Any, UUID]):
    """A ``UUID``, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, UUID]:
        raise NotImplementedError


class DurableFloat(float, Coroutine[Any, Any, float]):
    """A ``float``, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, float]:
        raise NotImplementedError


class DurableStr(str, Coroutine[Any, Any, str]):
    """A ``str``, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, str]:
        raise NotImplementedError


class DurableList(list[T], Coroutine[Any, Any, list[T]]):
    """A list, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, list[T]]:
        raise NotImplementedError


class DurableTuple(tuple[*Ts], Coroutine[Any, Any, tuple[*Ts]]):
    """A tuple, awaited in an ``async def`` body."""

    def __await__(self) -> Generator[Any, Any, tuple[*Ts]]:
        raise NotImplementedError
