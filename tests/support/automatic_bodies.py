"""Bodies that are rewritten, and the checkpoints that write down what they recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from trigger_celery.declare.automatic import rewrite

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])
Body = Callable[..., Coroutine[object, object, object]]

LOG: list[str] = []
ORDER: list[str] = []


async def record(label: str, fn: Callable[..., Awaitable[object]], /, *a: Any, **k: Any) -> object:
    LOG.append(label)
    return await fn(*a, **k)


def automatic(fn: F) -> F:
    return cast(F, rewrite(fn, record))


def labelled(text: str) -> Callable[[F], F]:
    def decorate(fn: F) -> F:
        fn.__dict__["text"] = text
        return fn

    return decorate


def run(coroutine: Coroutine[object, object, object]) -> object:
    LOG.clear()
    return asyncio.run(coroutine)


async def double(value: int, *, plus: int = 0) -> int:
    return 2 * value + plus


async def items(count: int) -> list[int]:
    return list(range(count))


async def fail(message: str) -> None:
    raise ValueError(message)


async def everything(*args: object, **kwargs: object) -> tuple[object, object]:
    return args, kwargs


def noted(name: str, value: Any = None) -> Any:
    ORDER.append(name)
    return value


async def only_label(label: str, fn: object, /, *args: object) -> str:
    return label
