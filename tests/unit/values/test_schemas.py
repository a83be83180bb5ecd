"""What the check of a value against a schema may cost is bounded, whatever the schema says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trigger_celery.errors import InvalidOption, InvalidPayload
from trigger_celery.limits import CHECKED_ELEMENTS
from trigger_celery.values import schemas
from trigger_celery.values.schemas import check_payload, schema_text

ANY_LIST = {"type": "array", "items": {"$ref": "#/$defs/any"}}
ENDLESS = {"$defs": {"any": {"anyOf": [ANY_LIST, ANY_LIST, {"enum": [0]}]}}, "$ref": "#/$defs/any"}
NESTED: Any = json.loads("[" * 40 + "1" + "]" * 40)
TYPES = [{"type": each} for each in ("string", "null", "boolean", "number")]


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "array"}, [0] * CHECKED_ELEMENTS, "more than 20,000 values"),
        ({}, json.loads("[" * 62 + "]" * 62), "more than 60 levels"),
        (ENDLESS, NESTED, "takes too long"),
        ({"items": {"enum": ["a"], "minLength": 3}}, list(range(15_000)), "takes too long"),
        ({"allOf": [{"anyOf": TYPES}] * 50}, ["x" * 50] * 10_000, "takes too long"),
        ({"$ref": "#"}, 1, "nested too deeply"),
        ({"multipleOf": 0.1}, 10**400, "cannot be compared"),
    ],
    ids=["elements", "depth", "branches", "errors", "messages", "itself", "numbers"],
)
def test_a_value_whose_check_costs_too_much_is_refused(
    schema: Any, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "CHECKED_PARTS", 20_000)
    with pytest.raises(InvalidPayload, match=message):
        check_payload(schema_text(schema), value)


@pytest.mark.parametrize("rule", ["pattern", "patternProperties"])
def test_a_pattern_that_backtracks_without_end_is_given_up(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "PATTERN_SECONDS", 0.02)
    pattern, text = r"^(a|a|b?a)+$", "a" * 40_000 + "!"
    schema: Any = {rule: pattern} if rule == "pattern" else {rule: {pattern: {}}}
    with pytest.raises(InvalidPayload, match="takes too long"):
        check_payload(schema_text(schema), text if rule == "pattern" else {text: 1})


def test_a_dialect_inside_of_a_schema_has_bounded_rules_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schemas, "PATTERN_SECONDS", 0.02)
    dialect = "http://json-schema.org/draft-07/schema#"
    inner = {"$schema": dialect, "$ref": "#/$defs/text"}
    text = {"$schema": dialect, "pattern": r"^(a|a|b?a)+$"}
    schema = {"$schema": dialect, "$defs": {"text": text}, "properties": {"a": inner}}
    with pytest.raises(InvalidPayload, match="takes too long"):
        check_payload(schema_text(schema), {"a": "a" * 40_000 + "!"})


@pytest.mark.parametrize(
    ("value", "unique"),
    [
        ([1, True, "1", None, [1], {"a": 1}], True),
        ([1, 1.0], False),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], False),
        ([[1, [2]], [1, [2]]], False),
        ([0.5, 0.25], True),
    ],
)
def test_elements_are_unique_as_json_schema_says(value: list[object], unique: bool) -> None:
    text = schema_text({"uniqueItems": True})
    if unique:
        check_payload(text, value)
    else:
        with pytest.raises(InvalidPayload, match="non-unique"):
            check_payload(text, value)


def test_patterns_name_the_keys_that_are_allowed() -> None:
    names = {"^n_": {"type": "integer"}}
    text = schema_text({"patternProperties": names, "additionalProperties": False})
    check_payload(text, {"n_1": 1, "n_2": 2})
    with pytest.raises(InvalidPayload, match="'other' was unexpected"):
        check_payload(text, {"n_1": 1, "other": 2})
    with pytest.raises(InvalidPayload, match=r"\$\.n_1: 'a' is not of type"):
        check_payload(text, {"n_1": "a"})


def test_what_cannot_be_bounded_is_refused_when_the_token_is_made() -> None:
    with pytest.raises(InvalidOption, match="unevaluatedProperties"):
        schema_text({"patternProperties": {"a": {}}, "unevaluatedProperties": False})
