"""What cannot be stored is refused, with its path, its type and what to do."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import io
import pickle
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from http import HTTPStatus
from typing import NamedTuple

import pytest

from trigger_celery.errors import EncodeError
from trigger_celery.values import JsonCodec

CODEC = JsonCodec()


class Model:
    _meta = "of a Django model"
    pk = 5


class QuerySet:
    def values_list(self) -> None: ...

    def iterator(self) -> None: ...


class Text(str):
    def __init__(self, text: str) -> None:
        self.language = "en"


class Point(NamedTuple):
    x: int


@dataclasses.dataclass
class Order:
    id: str


class Color(enum.Enum):
    RED = 1


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=moment.month if moment else 0)

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "Z"


class Opaque:
    pass


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


REFUSED = [
    (float("nan"), "float", "JSON has no nan"),
    (float("inf"), "float", "JSON has no inf"),
    (10**4000, "int", "4,000 digits"),
    (-(10**5000), "int", "4,000 digits"),
    (Decimal("NaN"), "Decimal", "NaN"),
    (Decimal("sNaN"), "Decimal", "NaN"),
    (Decimal("-Infinity"), "Decimal", "infinity"),
    ({Opaque(): 2}, "dict with a key of type Opaque", "str(key)"),
    ({(1, Text("a")): 2}, "dict with a key of type tuple", "str(key)"),
    (Model(), "Model", "pass the primary key"),
    (QuerySet(), "QuerySet", "list(value.values())"),
    (io.StringIO(), "StringIO", "contents"),
    (threading.Lock(), "lock", "locks"),
    (threading.RLock(), "RLock", "locks"),
    (generator(), "generator", "list(value)"),
    (generator, "function", "name"),
    (len, "builtin_function_or_method", "name"),
    (Opaque, "type", "name"),
    (sys, "module", "name"),
    (bytearray(b"x"), "bytearray", "bytes(value)"),
    (Text("a"), "Text", "str.__str__(value)"),
    (HTTPStatus.OK, "HTTPStatus", "@register"),
    (Color.RED, "Color", "@register"),
    (Point(1), "Point", "@register"),
    (Order("1"), "Order", "@register"),
    (Opaque(), "Opaque", "register(Opaque, dump=to_data, load=from_data)"),
    (collections.OrderedDict(a=1), "OrderedDict", "dict(value)"),
    (collections.defaultdict(int), "defaultdict", "dict(value)"),
    (range(3), "range", "list(value)"),
    (map(str, []), "map", "list(value)"),
    (collections.deque([1]), "deque", "list(value)"),
    ({}.keys(), "dict_keys", "list(value)"),
    (1j, "complex", "register(complex, dump=to_data, load=from_data)"),
    (..., "ellipsis", "register(ellipsis, dump=to_data, load=from_data)"),
    (datetime(2024, 1, 1, tzinfo=Zone()), "Zone", "zoneinfo"),
]


@pytest.mark.parametrize(
    ("value", "kind", "hint"), REFUSED, ids=[f"{row[1]}-{i}" for i, row in enumerate(REFUSED)]
)
def test_a_refusal_names_path_type_and_remedy(value: object, kind: str, hint: str) -> None:
    for whole, path in (
        (value, "$"),
        ([1, value], "$[1]"),
        ({"charge": {"client": value}}, "$.charge.client"),
        ((0, {"a b": [value]}), '$[1]["a b"][0]'),
    ):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode(whole)
        assert (caught.value.path, caught.value.kind) == (path, kind)
        assert hint in caught.value.hint


def test_a_socket_is_refused_with_a_hint() -> None:
    with socket.socket() as client, pytest.raises(EncodeError) as caught:
        CODEC.encode({"charge": {"client": client}})
    assert str(caught.value).startswith("$.charge.client: socket cannot be stored: ")


def test_a_coroutine_is_refused_with_a_hint() -> None:
    waiting = coroutine()
    with pytest.raises(EncodeError, match="await it"):
        CODEC.encode(waiting)
    waiting.close()


def test_a_future_is_refused_with_a_hint() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(EncodeError, match="await it"):
        CODEC.encode(loop.create_future())
    loop.close()


def test_an_element_of_a_set_has_a_path_without_an_index() -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode({"tags": {Opaque()}})
    assert caught.value.path == "$.tags[*]"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("x", "$.x"),
        ("\u00e9t\u00e9", "$.\u00e9t\u00e9"),
        ("", '$[""]'),
        ('a"b\\', '$["a\\"b\\\\"]'),
        ("\ud800", '$["\\ud800"]'),
        ("0", '$["0"]'),
    ],
)
def test_a_key_that_is_no_identifier_is_quoted_in_the_path(key: str, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode({key: Opaque()})
    assert caught.value.path == path


def test_a_huge_key_does_not_make_a_huge_path() -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode({"k" * 1_000_000: Opaque()})
    assert len(str(caught.value)) < 500


def test_the_error_of_a_cycle_names_the_path_where_it_first_closes() -> None:
    inner: dict[str, object] = {}
    outer = {"a": [1, inner]}
    inner["back"] = outer["a"]
    with pytest.raises(EncodeError) as caught:
        CODEC.encode(outer)
    assert caught.value.path in ("$.a[1].back", "$.a[1].back[1]")
    assert "contains itself" in caught.value.hint


def test_a_list_that_is_its_own_first_item_is_a_cycle() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(EncodeError) as caught:
        CODEC.encode(value)
    assert (caught.value.path, caught.value.kind) == ("$[0]", "list")


def test_a_cycle_through_a_tuple_is_a_cycle() -> None:
    value: list[object] = []
    value.append((value,))
    with pytest.raises(EncodeError, match="contains itself"):
        CODEC.encode({"x": value})


def test_depth_over_the_maximum_is_refused_and_the_maximum_is_not() -> None:
    value: object = 1
    for _ in range(64):
        value = [value]
    CODEC.encode(value)
    with pytest.raises(EncodeError) as caught:
        CODEC.encode([value])
    assert caught.value.path == "$" + "[0]" * 64
    assert "over 64 levels" in caught.value.hint


def test_a_process_that_reads_fewer_digits_refuses_what_it_could_not_read() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(EncodeError, match="set_int_max_str_digits"):
            CODEC.encode(10**1000)
    finally:
        sys.set_int_max_str_digits(before)


def test_a_stack_that_is_nearly_used_up_is_an_encode_error() -> None:
    codec = JsonCodec(max_depth=200)
    value: object = 1
    for _ in range(200):
        value = (value,)

    def deeper() -> None:
        try:
            deeper()
        except RecursionError:
            codec.encode(value)

    with pytest.raises(EncodeError, match="nested too deeply"):
        deeper()


def test_a_refusal_survives_pickling_for_pool_processes() -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode([Opaque()])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.path, str(copy)) == ("$[0]", str(caught.value))


def test_no_attribute_of_a_refused_object_is_touched() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    with pytest.raises(EncodeError, match="Lazy"):
        CODEC.encode(Lazy())
