"""What a refusal advises is run, and the codec takes what comes of it."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import io
import pathlib
import re
import socket
import sys
import threading
import types
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from fractions import Fraction
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest

from trigger_celery.errors import EncodeError
from trigger_celery.values import JsonCodec, Registry

CODE = re.compile(r"`([^`]+)`")


class Said(str):
    """As Django's SafeString: ``str()`` of it is no plain text."""

    def __init__(self, text: str) -> None:
        self.language = "en"

    def __str__(self) -> str:
        return self


class Raw(bytes):
    def __init__(self, data: bytes) -> None:
        self.x = 1

    def __bytes__(self) -> bytes:
        return self


class Point(NamedTuple):
    x: int


@dataclasses.dataclass
class Order:
    id: str


class Color(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Wandering(datetime.tzinfo):
    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=moment.month if moment else 0)

    def dst(self, moment: datetime.datetime | None) -> None:
        return None

    def tzname(self, moment: datetime.datetime | None) -> str:
        return "W"


class Model:
    _meta = "of a Django model"
    pk = 5


class QuerySet:
    def values_list(self) -> None: ...

    def iterator(self) -> None: ...

    def values(self) -> Iterator[dict[str, int]]:
        return iter([{"id": 1}])


class Opaque:
    pass


class Old(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


def extended(base: Any, *args: Any) -> Any:
    """An object of a subclass of ``base`` that has an attribute of its own."""
    value = type(f"My{base.__name__}", (base,), {})(*args)
    value.mine = 1
    return value


def pydantic_model() -> Any:
    return pytest.importorskip("pydantic").create_model("Made", at=datetime.date)(at="2026-01-01")


def nested_model() -> Any:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", url=pydantic.AnyUrl)
    return pydantic.create_model("Outer", inner=inner)(inner={"url": "https://example.org/"})


def url() -> Any:
    return pytest.importorskip("pydantic").AnyUrl("https://example.org/")


def numpy_number() -> Any:
    return pytest.importorskip("numpy").int64(5)


def timestamp() -> Any:
    return pytest.importorskip("pandas").Timestamp("2026-01-01T00:00:00Z")


def timedelta() -> Any:
    return pytest.importorskip("pandas").Timedelta(days=1)


async def later() -> int:
    return 1


async def items() -> AsyncIterator[int]:
    yield 1


def kept(value: Any) -> Callable[[Any], Any]:
    """A ``load`` that is not asked to build anything."""
    return lambda data: value


MAKERS: dict[str, tuple[Callable[[], Any], int]] = {
    "nan": (lambda: float("nan"), 2),
    "infinite decimal": (lambda: decimal.Decimal("-Infinity"), 2),
    "long number": (lambda: 10**5000, 1),
    "key": (lambda: {Opaque(): 2}, 1),
    "model instance": (Model, 1),
    "query": (QuerySet, 1),
    "file": (lambda: io.StringIO("a"), 1),
    "coroutine": (later, 1),
    "async generator": (items, 1),
    "generator": (lambda: (x for x in "ab"), 1),
    "function": (lambda: later, 1),
    "builtin": (lambda: len, 1),
    "method": (lambda: "".join, 1),
    "class": (lambda: Opaque, 1),
    "module": (lambda: sys, 1),
    "bytearray": (lambda: bytearray(b"x"), 1),
    "memoryview": (lambda: memoryview(b"x"), 1),
    "enum": (lambda: Color.RED, 2),
    "enum of a library": (lambda: HTTPStatus.OK, 2),
    "flags": (lambda: Access.READ | Access.WRITE, 2),
    "named tuple": (lambda: Point(1), 2),
    "dataclass": (lambda: Order("1"), 2),
    "pydantic model": (pydantic_model, 3),
    "model with models": (nested_model, 3),
    "type of a library": (url, 1),
    "opaque": (Opaque, 1),
    "complex": (lambda: 1j, 1),
    "fraction": (lambda: Fraction(1, 3), 1),
    "text": (lambda: Said("a"), 1),
    "int": (lambda: extended(int, 1), 1),
    "float": (lambda: extended(float, 1.5), 1),
    "bytes": (lambda: Raw(b"x"), 1),
    "dict": (lambda: collections.OrderedDict(a=1), 1),
    "mapping": (Old, 1),
    "read-only mapping": (lambda: types.MappingProxyType({"a": 1}), 1),
    "list": (lambda: extended(list, [1]), 1),
    "deque": (lambda: collections.deque([1]), 2),
    "keys": (lambda: {"a": 1}.keys(), 2),
    "range": (lambda: range(3), 1),
    "iterator": (lambda: map(str, [1]), 1),
    "tuple": (lambda: extended(tuple, (1,)), 1),
    "struct sequence": (lambda: sys.version_info, 1),
    "set": (lambda: extended(set, [1]), 1),
    "frozenset": (lambda: extended(frozenset, [1]), 1),
    "datetime": (lambda: extended(datetime.datetime, 2026, 1, 1, 5), 1),
    "date": (lambda: extended(datetime.date, 2026, 1, 1), 1),
    "time": (lambda: extended(datetime.time, 5, 1), 1),
    "timedelta": (lambda: extended(datetime.timedelta, 5, 1), 1),
    "decimal": (lambda: extended(decimal.Decimal, "1.50"), 1),
    "uuid": (lambda: _Id(int=5), 1),
    "path": (lambda: extended(type(pathlib.Path()), "/srv"), 1),
    "zone": (lambda: datetime.datetime(2026, 1, 1, 20, tzinfo=Wandering()), 1),
    "zone of a time": (lambda: datetime.time(20, tzinfo=Wandering()), 1),
    "numpy": (numpy_number, 1),
    "pandas time": (timestamp, 1),
    "pandas duration": (timedelta, 1),
}


class _Id(uuid.UUID):
    __slots__ = ("mine",)


def refused(value: object) -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        JsonCodec(classes=Registry()).encode([value])
    return caught.value


@pytest.mark.parametrize("maker", MAKERS)
def test_each_piece_of_advice_can_be_followed(maker: str) -> None:
    make, count = MAKERS[maker]
    value = make()
    pieces = CODE.findall(refused(value).hint)
    if isinstance(value, types.CoroutineType):
        value.close()
    assert len(pieces) == count
    for code in pieces:
        follow(code, make())


def follow(code: str, value: Any) -> None:
    """Run a piece of advice, and store what comes of it; or the value, if that registered it."""
    registry = Registry()
    result = asyncio.run(_run(code, value, registry))
    it = JsonCodec(classes=registry)
    if not code.startswith("register("):
        assert it.decode(it.encode([result])) == [result]
        return
    if code.count("(") == 1 and code.endswith("(Outer)"):
        # One model is registered now, and the advice for the one inside comes next.
        with pytest.raises(EncodeError, match=r"`register\(Inner\)`"):
            it.encode([value])
    else:
        assert it.decode(it.encode([value])) == [value]


async def _run(code: str, value: Any, registry: Registry) -> Any:
    names = {
        type(value).__name__: type(value),
        **globals(),
        "value": value,
        "register": registry.register,
        "to_data": lambda value: ["some", "data"],
        "from_data": kept(value),
    }
    body = f"async def run():\n    return {code}"
    exec(body, names)  # the text of a hint of ours
    return await names["run"]()


@pytest.mark.parametrize("make", [threading.Lock, threading.Thread, socket.socket])
def test_a_value_tied_to_its_process_gets_advice_without_code(make: Callable[[], Any]) -> None:
    value = make()
    error = refused(value)
    assert "not outlive" in error.hint
    assert not CODE.findall(error.hint)
    if isinstance(value, socket.socket):
        value.close()
