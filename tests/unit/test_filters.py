"""Event filters: typed equality, one grammar, and an index that agrees with the evaluator."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InvalidFilter
from trigger_celery.values import JsonCodec
from trigger_celery.values.filters import Filter, matches, payload_hash

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
    wanted = Filter("e", spec, CODEC)
    decided = matches(wanted.text, payload, CODEC)
    selected = payload_hash("e", wanted.paths, payload, CODEC) == wanted.match_hash
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
        ({"a": [1]}, "expected a scalar"),
        ({"a": {}}, "expected a scalar"),
        ({"a": b"x"}, "expected a scalar"),
        ({"a": object()}, "filter path 'a'"),
        ({"a.b": 1, "a": {"b": 1}}, "names one path twice"),
        ([("a", 1)], "to be a mapping of paths"),
        ("a", "to be a mapping of paths"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        Filter("e", spec, CODEC)


def test_the_order_of_a_filter_does_not_matter() -> None:
    one, other = (Filter("e", spec, CODEC) for spec in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert (one.paths, one.match_hash, one.text) == (other.paths, other.match_hash, other.text)


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
