"""What the codec says of a value that it does not store, and where in the value it was."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import socket
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import NoReturn

from trigger_celery.errors import EncodeError

REGISTER = "decorate its class with @register, or store plain data"
"""The hint for every class that the codec could store if it knew it by name."""

_SEGMENT_LIMIT = 100

_LOCKS = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Condition,
    threading.Event,
    threading.Semaphore,
)
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
)


class Refused(Exception):
    """On its way up: each container that it leaves adds its part of the path."""

    def __init__(self, kind: str, hint: str, culprit: object = None) -> None:
        super().__init__(kind, hint)
        self.kind = kind
        self.hint = hint
        self.culprit = culprit
        self.path: list[str] = []
        self._loop = 0

    def leave(self, owner: object, segment: str) -> None:
        """Add ``segment``, the place inside ``owner``, in front of the path."""
        self.path.append(segment)
        if self.culprit is not None and owner is self.culprit:
            self._close_loop()

    def _close_loop(self) -> None:
        # Only the outermost turn of the cycle is told: the rest repeats it up to the depth limit.
        del self.path[: self._loop]
        self._loop = len(self.path)
        self.hint = "it contains itself: store the ids of what it refers to"

    def error(self) -> EncodeError:
        """The error for the author; the outermost segment is the codec's own and is dropped."""
        return EncodeError("$" + "".join(reversed(self.path[:-1])), self.kind, self.hint)


def segment(key: object) -> str:
    """The part of a path that leads to ``key``: ``[3]``, ``.name`` or ``["a b"]``."""
    if type(key) is int:
        return f"[{key}]"
    text = str(key)[:_SEGMENT_LIMIT]
    if text.isidentifier():
        return f".{text}"
    quoted = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'["{quoted}"]'


def refuse(value: object) -> NoReturn:
    """Refuse ``value`` by its type. Raises ``Refused`` with the first hint that fits."""
    hint = next((hint for fits, hint in _HINTS if fits(value)), REGISTER)
    raise Refused(type(value).__qualname__, hint)


def _is_a(*classes: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, classes)


def _has(*names: str) -> Callable[[object], bool]:
    # Asked of the class: an attribute of the instance may be lazy, and run a query or fail.
    return lambda value: all(hasattr(type(value), name) for name in names)


_HINTS: tuple[tuple[Callable[[object], bool], str], ...] = (
    (_is_a(type), "pass its name"),
    (_has("_meta", "pk"), "pass the primary key and load the row where it is needed"),
    (_has("values_list", "iterator"), "evaluate the query: list(queryset.values(...))"),
    (_is_a(io.IOBase), "pass the file's name or its contents"),
    (_is_a(socket.socket), "connections do not outlive a step: open it in the step that uses it"),
    (_is_a(*_LOCKS), "locks do not outlive a process: take it inside the step that needs it"),
    (_is_a(threading.Thread), "threads do not outlive a process: pass what it computed"),
    (_is_a(types.CoroutineType, asyncio.Future), "await it, and store its result"),
    (_is_a(types.AsyncGeneratorType), "collect it first: [item async for item in value]"),
    (_is_a(types.GeneratorType), "collect it first: list(value)"),
    (_is_a(*_FUNCTIONS), "pass data, or the function's name"),
    (_is_a(types.ModuleType), "pass its name"),
    (_is_a(bytearray, memoryview), "convert it: bytes(value)"),
    (_is_a(Enum), REGISTER),
    (dataclasses.is_dataclass, REGISTER),
    (_has("_fields", "_make"), REGISTER),
    (_has("model_fields", "model_validate"), REGISTER),
    (_has("tolist", "dtype"), "convert it: value.tolist()"),
    (_is_a(str), "convert it: str(value)"),
    (_is_a(int), "convert it: int(value)"),
    (_is_a(float), "convert it: float(value)"),
    (_is_a(bytes), "convert it: bytes(value)"),
    (_is_a(Mapping), "convert it: dict(value)"),
    (_is_a(list, Iterator, range), "convert it: list(value)"),
    (_is_a(tuple), "convert it: tuple(value)"),
    (_is_a(set, frozenset), "convert it: set(value)"),
    (_is_a(Iterable), f"convert it: list(value), or {REGISTER}"),
)
