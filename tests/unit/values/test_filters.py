"""Event filters: typed equality, one grammar, and an index that agrees with the evaluator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InvalidFilter
from trigger_celery.values import JsonCodec
from trigger_celery.values.filters import Filter, matches, payload_hashes

CODEC = JsonCodec()
SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    "1",
    "",
    "é",
    Decimal("1"),
    datetime(2030, 1, 1, tzinfo=UTC),
    UUID(int=1),
]


def passes(spec: Any, payload: object) -> bool:
    """Decide by the evaluator; of equality on paths the index says the same."""
    wanted = Filter("e", spec, CODEC)
    decided = matches(wanted.text, "", payload, CODEC)
    selected = wanted.match_hash in payload_hashes("e", wanted.paths, payload, CODEC)
    assert decided == selected
    return decided


@pytest.mark.parametrize("wanted", SCALARS)
@pytest.mark.parametrize("given_", SCALARS)
def test_only_equal_values_of_one_type_match(wanted: object, given_: object) -> None:
    assert passes({"a": wanted}, {"a": given_}) is (wanted is given_)


@pytest.mark.parametrize(
    ("spec", "payload", "expected"),
    [
        (None, {"a": 1}, True),
        ({}, 5, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": 1}, None, False),
        ({"a": 1}, [{"a": 1}], False),
        ({"a.b": 1}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a.b": 1}, {"a.b": 1}, False),
        ({"a.b": 1}, {"a": 1}, False),
        ({"a": 1}, {"a": {"b": 1}}, False),
        ({"a": 1}, {"a": [1]}, False),
        ({"a.b": 1}, {"a": [{"b": 1}]}, False),
        ({"a": {"b": 1}}, {"a": [{"b": 2}, 5, {"b": 1}]}, True),
        ({"a": {"b": 1}}, {"a": []}, False),
        ({"a": {"b": 1}}, {"a": [[{"b": 1}]]}, False),
        ({"a": {"b": {"c": 1}}}, {"a": [{"b": 1}, {"b": [{"c": 2}, {"c": 1}]}]}, True),
        ({"a.b": {"c.d": 1}, "e": 2}, {"a": {"b": [{"c": {"d": 1}}]}, "e": 2}, True),
    ],
)
def test_every_path_must_hold_its_value(spec: Any, payload: object, expected: bool) -> None:
    assert passes(spec, payload) is expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"a b": 1}, "filter path 'a b'"),
        ({"": 1}, "filter path ''"),
        ({5: 1}, "filter path '5'"),
        ({"a..b": 1}, "joined by dots"),
        ({".".join("abcdefghij"): 1}, "up to nine parts"),
        ({"a": [[1]]}, "expected a scalar"),
        ({"a": b"x"}, "expected a scalar"),
        ({"a": object()}, "filter path 'a'"),
        ({"a.b": 1, "a": {"b": 1}}, "names one path twice"),
        ([("a", 1)], "to be a mapping of paths"),
        ("a", "to be a mapping of paths"),
        ({"a": {}}, "got an empty mapping"),
        ({"a": []}, "a list of scalars that is not empty"),
        ({"a": [1, {"$gt": 1}]}, "a list of scalars, or a list of mappings of operators"),
        ({"a": [{"b": 1}]}, "a list of scalars, or a list of mappings of operators"),
        ({"$gt": 1}, "filter path '$gt'"),
        ({"a": {"$gt": 1, "b": 1}}, "operators and keys are mixed"),
        ({"a": {"$zzz": 1}}, "no operator is called '$zzz'; there are: $anythingBut, $between"),
        ({"a": {"$startswith": "x"}}, "did you mean '$startsWith'?"),
        ({"b": {"c": {"$exist": True}}}, "filter path 'b.c.$exist': no operator"),
        ({"a": {"$startsWith": 1}}, "filter path 'a.$startsWith': expected text, got: 1"),
        ({"a": {"$exists": 1}}, "expected True or False, got: 1"),
        ({"a": {"$isNull": None}}, "expected True or False"),
        ({"a": {"$gt": "1"}}, "expected a number or an aware datetime"),
        ({"a": {"$gte": True}}, "expected a number or an aware datetime"),
        ({"a": {"$lt": float("nan")}}, "expected a number or an aware datetime"),
        ({"a": {"$lt": Decimal("nan")}}, "expected a number or an aware datetime"),
        ({"a": {"$lte": datetime(2030, 1, 1)}}, "expected a number or an aware datetime"),
        ({"a": {"$between": [1]}}, "the lowest and the highest value"),
        ({"a": {"$between": [2, 1]}}, "the lower one first"),
        ({"a": {"$between": [1, datetime(2030, 1, 1, tzinfo=UTC)]}}, "two values of one kind"),
        ({"a": {"$gt": float("inf")}}, "filter path 'a.$gt': "),
        ({"a": {"$between": [1, Decimal("Infinity")]}}, "filter path 'a.$between': "),
        ({"a": {"$in": 1}}, "a list of scalars that is not empty"),
        ({"a": {"$in": []}}, "a list of scalars that is not empty"),
        ({"a": {"$anythingBut": []}}, "a list of scalars that is not empty"),
        ({"a": {"$includes": [1]}}, "expected a scalar"),
        ({"a": {"$not": {}}}, "filter path 'a.$not': expected a condition"),
        ({"a": {"$not": {"b": 1}}}, "expected a scalar, a list or operators"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(message)):
        Filter("e", spec, CODEC)


@pytest.mark.parametrize("wrap", [lambda spec: {"b": spec}, lambda spec: {"$not": spec}])
def test_a_filter_that_is_too_deep_is_refused(wrap: Callable[[object], object]) -> None:
    spec: object = 1
    for _ in range(8):
        spec = wrap(spec)
    Filter("e", {"a": spec}, CODEC)
    for _ in range(2_000):
        spec = wrap(spec)
    with pytest.raises(InvalidFilter, match="more than 9 conditions deep"):
        Filter("e", {"a": spec}, CODEC)


def test_the_order_of_a_filter_does_not_matter() -> None:
    one, other = (Filter("e", spec, CODEC) for spec in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert (one.paths, one.match_hash, one.text) == (other.paths, other.match_hash, other.text)


def test_a_stored_filter_of_equalities_is_an_object_of_paths_and_texts() -> None:
    spec = {"a.b": 1, "c": "x"}
    wanted = Filter("e", spec, CODEC)
    assert json.loads(wanted.text) == {path: CODEC.encode(value) for path, value in spec.items()}
    assert json.loads(wanted.paths) == ["a.b", "c"]


def test_of_mappings_in_a_filter_one_equality_is_in_the_index() -> None:
    wanted = Filter("e", {"a": {"b": 1, "c": 2}, "d": {"b": 1}, "e": 1, "f": [1]}, CODEC)
    assert json.loads(wanted.paths) == ["a/b", "e"]


def test_a_hash_belongs_to_its_event_and_paths() -> None:
    hashes = {
        Filter(name, spec, CODEC).match_hash
        for name in ("e", "f")
        for spec in (None, {"a": 1}, {"b": 1}, {"a": "1"})
    }
    assert len(hashes) == 8


keys = st.text("abc_-", min_size=1, max_size=3)
values = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["0", "1", ""]))
payloads = st.recursive(
    values, lambda inner: st.dictionaries(keys, inner) | st.lists(inner), max_leaves=6
)


@given(st.dictionaries(keys, values, max_size=2), payloads)
def test_the_index_selects_exactly_what_the_evaluator_lets_pass(
    spec: dict[str, object], payload: object
) -> None:
    passes(spec, payload)


@given(payloads)
def test_a_payload_passes_a_filter_made_of_itself(payload: object) -> None:
    if isinstance(payload, dict):
        spec = {key: value for key, value in payload.items() if not isinstance(value, (dict, list))}
        assert passes(spec, payload)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({f"key{number}": 1 for number in range(51)}, "at most 50 paths, got: 51"),
        ({"a": {f"key{number}": 1 for number in range(51)}}, "at most 50 paths, got: 51"),
        ({"a": list(range(5_000))}, "at most 20,000 characters"),
    ],
    ids=["paths", "nested", "text"],
)
def test_a_filter_over_a_limit_is_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        Filter("e", spec, JsonCodec())
