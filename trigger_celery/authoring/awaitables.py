"""What a durable call returns in an ``async def`` body: a coroutine that we recognise."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable
from types import TracebackType
from typing import Any


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


def holds_durable_call(values: Iterable[object]) -> bool:
    """Whether a durable call is among these values, or in a list or tuple among them."""
    for value in values:
        if isinstance(value, DurableCall):
            return True
        if isinstance(value, (list, tuple)) and any(isinstance(v, DurableCall) for v in value):
            return True
    return False
