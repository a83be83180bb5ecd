"""What the codec says of a value that it does not store, and where in the value it was."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import socket
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import NoReturn
from uuid import UUID

from trigger_celery.errors import EncodeError

_REGISTER = (
    "register its class with two functions of yours, "
    "`register({name}, dump=to_data, load=from_data)`, or store plain data"
)
_KNOWN = "register its class, `register({name})` or @register above it, or store plain data: "
"""Of shapes that the codec knows; a class of a library is registered by the call."""

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
        # Only the outermost turn of the cycle is named: the rest repeats it up to the depth limit.
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
    """Refuse ``value`` by its type. Raises ``Refused`` with the first hint that fits.

    What stands in backticks is Python, where ``value`` is the refused part; a test runs it.
    """
    cls = type(value)
    hint = next((hint for fits, hint in _HINTS if fits(value)), _REGISTER)
    raise Refused(cls.__qualname__, hint.replace("{name}", cls.__name__))


def _is_a(*classes: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, classes)


def _has(*names: str) -> Callable[[object], bool]:
    # Asked of the class: an attribute of the instance may be lazy, and run a query or fail.
    return lambda value: all(hasattr(type(value), name) for name in names)


_HINTS: tuple[tuple[Callable[[object], bool], str], ...] = (
    (_is_a(type), "pass its name: `value.__name__`"),
    (_has("_meta", "pk"), "pass the primary key, `value.pk`, and load the row where it is needed"),
    (_has("values_list", "iterator"), "evaluate the query: `list(value.values())`"),
    (_is_a(io.IOBase), "pass the file's name or its contents: `value.read()`"),
    (_is_a(socket.socket), "connections do not outlive a step: open it in the step that uses it"),
    (_is_a(*_LOCKS), "locks do not outlive a process: take it inside the step that needs it"),
    (_is_a(threading.Thread), "threads do not outlive a process: pass what it computed"),
    (_is_a(types.CoroutineType, asyncio.Future), "await it, and store its result: `await value`"),
    (_is_a(types.AsyncGeneratorType), "collect it first: `[item async for item in value]`"),
    (_is_a(types.GeneratorType), "collect it first: `list(value)`"),
    (_is_a(*_FUNCTIONS), "pass data, or the function's name: `value.__name__`"),
    (_is_a(types.ModuleType), "pass its name: `value.__name__`"),
    (_is_a(bytearray, memoryview), "convert it: `bytes(value)`"),
    (_is_a(Enum), f"{_KNOWN}`value.name`"),
    (dataclasses.is_dataclass, f"{_KNOWN}`dataclasses.asdict(value)`"),
    (_has("_fields", "_make"), f"{_KNOWN}`value._asdict()`"),
    (
        _has("model_fields", "model_validate"),
        f"{_KNOWN}`value.model_dump(mode='json')`; with all that is inside, "
        "`register({name}, dump={name}.model_dump_json, load={name}.model_validate_json)`",
    ),
    (_has("tolist", "dtype"), "convert it: `value.tolist()`"),
    # The methods of the base: a subclass may answer ``str(value)`` with itself.
    (_is_a(str), "convert it: `str.__str__(value)`"),
    (_is_a(int), "convert it: `int(value)`"),
    (_is_a(float), "convert it: `float(value)`"),
    (_is_a(bytes), "convert it: `bytes(memoryview(value))`"),
    (_has("to_pydatetime"), "convert it: `value.to_pydatetime()`"),
    (_has("to_pytimedelta"), "convert it: `value.to_pytimedelta()`"),
    (_is_a(datetime), "convert it: `datetime.datetime.combine(value.date(), value.timetz())`"),
    (_is_a(date), "convert it: `datetime.date(value.year, value.month, value.day)`"),
    (_is_a(time), "convert it: `datetime.time.fromisoformat(value.isoformat())`"),
    (_is_a(timedelta), "convert it: `value / datetime.timedelta(seconds=1)` seconds"),
    (_is_a(Decimal), "convert it: `decimal.Decimal(value)`"),
    (_is_a(UUID), "convert it: `uuid.UUID(int=value.int)`"),
    (_is_a(PurePath), "convert it: `str(value)`"),
    (_is_a(Mapping), "convert it: `dict(value)`"),
    (_is_a(list, Iterator, range), "convert it: `list(value)`"),
    (_is_a(tuple), "convert it: `tuple(value)`"),
    (_is_a(set, frozenset), "convert it: `set(value)`"),
    (_is_a(Iterable), f"convert it, `list(value)`, or {_REGISTER}"),
)
