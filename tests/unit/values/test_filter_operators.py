"""The operators of event filters against an oracle that knows the documentation only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trigger_celery.values import JsonCodec
from trigger_celery.values.filters import Filter, matches, payload_hashes

CODEC = JsonCodec()
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ABSENT: Any = object()


def passes(spec: Any, payload: object) -> bool:
    wanted = Filter("e", spec, CODEC)
    decided = matches(wanted.text, "", payload, CODEC)
    if decided:
        assert wanted.match_hash in payload_hashes("e", wanted.paths, payload, CODEC)
    return decided


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ([1, "x", None], [1, "x", None], [True, 1.0, "1", [1], ABSENT]),
        ({"$in": [1, "x"]}, [1, "x"], [True, 1.0, "X", [1], ABSENT]),
        ({"$startsWith": "a"}, ["a", "ab"], ["A", "ba", 1, None, ["a"], ABSENT]),
        ({"$endsWith": "a"}, ["a", "ba"], ["A", "ab", 1, None, ["a"], ABSENT]),
        ({"$ignoreCaseEquals": "Straße"}, ["STRASSE", "straße"], ["stras", 1, None, ABSENT]),
        ({"$anythingBut": "a"}, ["b", 1, None, ["a"], {}], ["a", ABSENT]),
        ({"$anythingBut": ["a", 1]}, ["b", 1.0, True, None], ["a", 1, ABSENT]),
        ({"$exists": True}, [None, 0, [], {}], [ABSENT]),
        ({"$exists": False}, [ABSENT], [None, 0, [], {}]),
        ({"$isNull": True}, [None], [0, "", [], ABSENT]),
        ({"$isNull": False}, [0, "", [], {}], [None, ABSENT]),
        ({"$includes": 1}, [[1], [2, 1], (1,), {1, 2}], [[], [1.0], [True], [[1]], 1, "1", ABSENT]),
        ({"$gt": 1}, [2, 1.5, Decimal("1.1"), 10**30], [1, 0, True, "2", None, NOON, [2], ABSENT]),
        ({"$gte": 1}, [1, 1.0, Decimal(1)], [0.9, True, "1", None, ABSENT]),
        ({"$lt": 0.1}, [0, Decimal("0.1"), -1], [0.1, 1, False, "0", Decimal("nan"), ABSENT]),
        ({"$lte": Decimal("0.1")}, [Decimal("0.1"), 0], [0.1, 1, False, None, ABSENT]),
        ({"$gt": NOON}, [NOON + timedelta(microseconds=1)], [NOON, 10**12, "9999", ABSENT]),
        ({"$lt": NOON}, [NOON - timedelta(1)], [NOON, NOON.replace(tzinfo=None), 0, ABSENT]),
        ({"$between": [1, 2]}, [1, 1.5, 2, Decimal(2)], [0.9, 2.1, True, "1", [1], ABSENT]),
        ({"$between": [NOON, NOON]}, [NOON], [NOON + timedelta(1), 1, ABSENT]),
        ({"$not": "a"}, ["b", None, ["a"], ABSENT], ["a"]),
        ({"$not": ["a", 1]}, ["b", True, ABSENT], ["a", 1]),
        ({"$not": {"$gt": 1}}, [1, "2", None, ABSENT], [2]),
        ({"$not": [{"$gt": 1}, {"$lt": 3}]}, [1, 3, "x", ABSENT], [2]),
        ({"$not": {"$not": {"$exists": True}}}, [None], [ABSENT]),
        ({"$gte": 1, "$lt": 3}, [1, 2], [0, 3, ABSENT]),
        ([{"$gte": 1}, {"$lt": 3}], [1, 2], [0, 3, ABSENT]),
        ([{"$startsWith": "a"}, {"$not": "ab"}, {"$not": "ac"}], ["ad"], ["ab", "ac", "b"]),
        ({"b": {"$gt": 1}}, [{"b": 2}, [{"b": 0}, {"b": 2}]], [{"b": 1}, [], 2, None, ABSENT]),
        ({"b": 1, "c": 2}, [[{"b": 1, "c": 2}]], [[{"b": 1}, {"c": 2}]]),
        ({"b": {"$exists": False}}, [{}, [{}], {"c": 1}], [{"b": 1}, [], None, ABSENT]),
    ],
)
def test_an_operator_passes_these_values_and_no_others(
    condition: Any, yes: list[Any], no: list[Any]
) -> None:
    for value, expected in [*((v, True) for v in yes), *((v, False) for v in no)]:
        payload = {} if value is ABSENT else {"a": value}
        assert passes({"a": condition}, payload) is expected, value
        assert passes({"x.a": condition}, {"x": payload}) is expected, value
        assert passes({"x": {"a": condition}}, {"x": payload}) is expected, value


def test_a_payload_that_is_no_mapping_passes_the_empty_filter_only() -> None:
    for payload in (None, 1, [], [{"a": 1}]):
        assert passes({}, payload)
        assert not passes({"a": {"$exists": False}}, payload)


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def number(value: object) -> bool:
    return type(value) in (int, float, Decimal)


def documented(spec: dict[str, Any], payload: Any) -> bool:
    """Whether a payload matches, as the documentation has it."""
    if spec and not isinstance(payload, dict):
        return False
    for path, condition in spec.items():
        value = payload
        for part in path.split("."):
            value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
        if not holds(condition, value):
            return False
    return True


def holds(condition: Any, value: Any) -> bool:
    if isinstance(condition, list):
        if isinstance(condition[0], dict):
            return all(holds(each, value) for each in condition)
        return any(same(each, value) for each in condition)
    if not isinstance(condition, dict):
        return same(condition, value)
    if all(name.startswith("$") for name in condition):
        return all(OPERATORS[name](operand, value) for name, operand in condition.items())
    if isinstance(value, list):
        return any(documented(condition, each) for each in value)
    return documented(condition, value)


OPERATORS: dict[str, Any] = {
    "$not": lambda operand, value: not holds(operand, value),
    "$in": lambda operand, value: any(same(each, value) for each in operand),
    "$anythingBut": lambda operand, value: (
        value is not ABSENT
        and not any(
            same(each, value) for each in (operand if isinstance(operand, list) else [operand])
        )
    ),
    "$exists": lambda operand, value: operand == (value is not ABSENT),
    "$isNull": lambda operand, value: value is not ABSENT and operand == (value is None),
    "$includes": lambda operand, value: (
        isinstance(value, list) and any(same(operand, each) for each in value)
    ),
    "$startsWith": lambda operand, value: (
        isinstance(value, str) and value[: len(operand)] == operand
    ),
    "$endsWith": lambda operand, value: (
        isinstance(value, str) and value[::-1][: len(operand)] == operand[::-1]
    ),
    "$ignoreCaseEquals": lambda operand, value: (
        isinstance(value, str) and value.lower() == operand.lower()
    ),
    "$gt": lambda operand, value: number(value) and value > operand,
    "$gte": lambda operand, value: number(value) and value >= operand,
    "$lt": lambda operand, value: number(value) and value < operand,
    "$lte": lambda operand, value: number(value) and value <= operand,
    "$between": lambda operand, value: number(value) and operand[0] <= value <= operand[1],
}


def ordered(bounds: list[Any]) -> list[Any]:
    return sorted(bounds)


keys = st.sampled_from("abc")
texts = st.sampled_from(["", "x", "X", "xy", "1"])
numbers = st.sampled_from([0, 1, 1.0, 2, Decimal(1), Decimal("1.5"), -1])
scalars = st.one_of(st.none(), st.booleans(), texts, numbers)
some = st.lists(scalars, min_size=1, max_size=3)
payloads = st.recursive(
    scalars,
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=10,
)
simple = st.one_of(
    st.fixed_dictionaries({"$in": some}),
    st.fixed_dictionaries({"$anythingBut": scalars | some}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$isNull": st.booleans()}),
    st.fixed_dictionaries({"$includes": scalars}),
    *(
        st.fixed_dictionaries({name: texts})
        for name in ("$startsWith", "$endsWith", "$ignoreCaseEquals")
    ),
    *(st.fixed_dictionaries({name: numbers}) for name in ("$gt", "$gte", "$lt", "$lte")),
    st.fixed_dictionaries({"$between": st.lists(numbers, min_size=2, max_size=2).map(ordered)}),
)
mappings = st.recursive(
    simple,
    lambda inner: st.fixed_dictionaries(
        {"$not": scalars | some | inner | st.lists(inner, min_size=1, max_size=2)}
    ),
    max_leaves=3,
)
operators = mappings | st.lists(mappings, min_size=1, max_size=3)
paths = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c"])
specs = st.recursive(
    st.dictionaries(paths, scalars | some | operators, min_size=1, max_size=3),
    lambda inner: st.dictionaries(keys, inner | scalars, min_size=1, max_size=2),
    max_leaves=4,
)


def named(spec: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for path, condition in spec.items():
        nested = isinstance(condition, dict) and not next(iter(condition)).startswith("$")
        inner = named(condition, f"{prefix}{path}.") if nested else [f"{prefix}{path}"]
        found += inner
    return found


@given(specs, payloads)
def test_the_evaluator_says_what_the_oracle_says_and_the_index_excludes_no_match(
    spec: dict[str, Any], payload: object
) -> None:
    assume(len(set(named(spec))) == len(named(spec)))
    assert passes(spec, payload) is documented(spec, payload)


@given(st.dictionaries(keys, payloads, min_size=1), st.data())
def test_a_filter_made_from_a_payload_is_passed_and_selected(
    payload: dict[str, Any], data: st.DataObject
) -> None:
    spec = data.draw(st.just(drawn_from(payload, data)))
    assert passes(spec, payload) is documented(spec, payload) is True


def drawn_from(payload: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Return a filter that one walk through the payload, and through its lists, fulfils."""
    spec: dict[str, Any] = {}
    for key, value in payload.items():
        inside = value
        if isinstance(value, list) and any(isinstance(each, dict) and each for each in value):
            found = [each for each in value if isinstance(each, dict) and each]
            inside = data.draw(st.sampled_from(found))
        if isinstance(inside, dict) and inside:
            spec[key] = drawn_from(inside, data)
        elif isinstance(value, (dict, list)):
            spec[key] = {"$exists": True}
        else:
            spec[key] = value
    return spec
