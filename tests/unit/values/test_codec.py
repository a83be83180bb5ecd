"""What the codec stores comes back as it was, to the type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from support.exact import same
from trigger_celery.errors import PayloadTooLarge
from trigger_celery.values import Failure, JsonCodec

CODEC = JsonCodec()
BERLIN = ZoneInfo("Europe/Berlin")

VALUES: list[object] = [
    None,
    True,
    False,
    0,
    1,
    -(10**4000) + 1,
    0.0,
    -0.0,
    1e300,
    0.1,
    "",
    "plain",
    "nul \x00, lone \ud800 \udfff, snowman \u2603, \U0001f600",
    b"",
    b"\x00\xff",
    [],
    [1, [2, [3]]],
    (),
    (1,),
    ((), [], {}),
    {},
    {"a": {"b": [1, True, 1.0]}},
    {"\x00": 1, "\ud800": 2, "": 3},
    {"$t": "datetime", "v": "2024-01-01"},
    {"a": {"$t": None}, "b": [{"$t": {"$t": 1}}]},
    set(),
    {1, "1", None, (1, 2), frozenset({b"x"})},
    frozenset(),
    frozenset({1.5}),
    date(2024, 2, 29),
    datetime(2024, 2, 29, 12, 30, 1, 5),
    datetime(2024, 10, 27, 2, 30, fold=1),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
    datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
    datetime.min,
    datetime.max,
    time(23, 59, 59, 999_999),
    time(1, 2, tzinfo=UTC, fold=1),
    time(1, 2, tzinfo=BERLIN),
    time(1, 2, tzinfo=timezone(timedelta(hours=1), "CET")),
    timedelta(days=-1, seconds=1, microseconds=5),
    timedelta.max,
    Decimal("1E+3"),
    Decimal("-0.00"),
    Decimal("1000"),
    UUID(int=5),
    Path("/srv/a b"),
    PurePosixPath("x/y"),
    PureWindowsPath("c:\\x"),
    Failure(kind="ValueError", message="no", notes=("n",), cause=Failure(kind="E", message="")),
]


WRAPS: list[Callable[[object], object]] = [
    lambda value: [value],
    lambda value: (value,),
    lambda value: {"$t": value},
    lambda value: frozenset([value]),
]


def _shown(value: object) -> str:
    # The order of a set is another in each process, and a test has one name in all.
    return f"{len(value)} members" if isinstance(value, set) else repr(value)[:40]


@pytest.mark.parametrize("value", VALUES, ids=_shown)
def test_a_value_round_trips_with_its_type(value: object) -> None:
    for whole in (value, [value], {"k": value}, (value, value)):
        text = CODEC.encode(whole)
        assert text.isascii()
        assert same(CODEC.decode(text), whole)


def test_plain_data_is_written_as_plain_compact_json_in_its_order() -> None:
    value = {"b": [1, None, True], "a": "\u00e9"}
    assert CODEC.encode(value) == '{"b":[1,null,true],"a":"\\u00e9"}'


def test_the_forms_on_disk_stay_as_they_are() -> None:
    value = [(1,), {"$t": 1}, datetime(2024, 1, 1, tzinfo=BERLIN), Decimal("1E+3"), b"ab"]
    assert json.loads(CODEC.encode(value)) == [
        {"$t": "tuple", "v": [1]},
        {"$t": "dict", "k": ["$t"], "v": [1]},
        {"$t": "datetime", "v": "2024-01-01T00:00:00+01:00", "zone": "Europe/Berlin"},
        {"$t": "decimal", "v": "1E+3"},
        {"$t": "bytes", "v": "YWI="},
    ]


def test_a_set_is_written_in_the_order_of_its_elements_texts() -> None:
    assert CODEC.encode({"b", "c", "a", 2, 10}) == '{"$t":"set","v":["a","b","c",10,2]}'


def test_encoding_leaves_the_value_alone() -> None:
    value = {"a": [(1, 2), {"b": {3}}]}
    CODEC.encode(value)
    assert value == {"a": [(1, 2), {"b": {3}}]}


def test_a_shared_part_is_no_cycle() -> None:
    part = [1]
    assert CODEC.decode(CODEC.encode([part, part, {"p": part}])) == [[1], [1], {"p": [1]}]


def test_the_instant_is_kept_when_the_rules_of_a_zone_changed() -> None:
    text = '{"$t":"datetime","v":"2024-07-01T12:00:00+01:00","zone":"Europe/Berlin"}'
    value = CODEC.decode(text)
    assert value == datetime(2024, 7, 1, 11, tzinfo=UTC)
    assert str(value) == "2024-07-01 13:00:00+02:00"


def test_values_nest_as_deep_as_allowed_and_come_back() -> None:
    codec = JsonCodec(max_depth=200)
    for wrap in WRAPS:
        value: object = "x"
        for _ in range(200):
            value = wrap(value)
        assert JsonCodec().decode(codec.encode(value)) == value


def test_a_text_over_the_limit_is_refused_with_its_size_and_what_it_is() -> None:
    codec = JsonCodec(limit=100)
    assert len(codec.encode("x" * 98)) == 100
    with pytest.raises(PayloadTooLarge) as caught:
        codec.encode("x" * 99, what="output of step charge")
    assert (caught.value.what, caught.value.size, caught.value.limit) == (
        "output of step charge",
        101,
        100,
    )


@pytest.mark.parametrize("leaf", ["x" * 100_000, b"x" * 100_000, [0] * 50_000])
def test_a_value_whose_text_would_fill_the_memory_is_given_up_early(leaf: object) -> None:
    value = leaf
    for _ in range(30):
        value = [value, value, value]
    with pytest.raises(PayloadTooLarge) as caught:
        CODEC.encode(value)
    assert caught.value.size > caught.value.limit


def test_a_float_is_read_to_the_last_bit() -> None:
    for number in (math.pi, 5e-324, 1.7976931348623157e308):
        assert CODEC.decode(CODEC.encode(number)) == number


def test_one_codec_may_allow_less_depth_than_another_that_reads_its_texts() -> None:
    with pytest.raises(ValueError, match="expected max_depth to be from 1 to 200, got: 201"):
        JsonCodec(max_depth=201)
