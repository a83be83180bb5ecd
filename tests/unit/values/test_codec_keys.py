"""Dictionaries keep the types of their keys."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple
from uuid import UUID

import pytest
from django.utils.safestring import mark_safe

from support.exact import same
from trigger_celery import step
from trigger_celery.errors import EncodeError
from trigger_celery.testing import Harness
from trigger_celery.values import JsonCodec, Registry

CODEC = JsonCodec()


class RecordedCall(NamedTuple):
    x: int


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", 2: {3: None}},
        {1: "a", "1": "b", None: 0, -2.5: 1, False: 2},
        {date(2026, 1, 1): 1, UUID(int=1): 2, (1, "a"): 3, frozenset([1]): 4, b"x": 5},
        {"$t": 1, 5: 2},
    ],
    ids=repr,
)
def test_keys_come_back_with_their_types(value: object) -> None:
    for whole in (value, [value], {"k": value}):
        text = CODEC.encode(whole)
        assert same(CODEC.decode(text), whole)
        assert CODEC.encode(CODEC.decode(text)) == text


def test_the_form_on_disk_lists_keys_and_values() -> None:
    assert CODEC.encode({1: "a"}) == '{"$t":"dict","k":[1],"v":["a"]}'
    assert CODEC.encode({mark_safe("k"): 1}) == '{"k":1}'


def test_a_registered_class_may_be_a_key() -> None:
    registry = Registry()
    registry.register(RecordedCall)
    it = JsonCodec(classes=registry)
    assert it.decode(it.encode({RecordedCall(1): 1})) == {RecordedCall(1): 1}


def test_a_value_is_named_by_its_key_and_a_key_by_its_dict() -> None:
    for value, path in (({"a": {5: [object()]}}, "$.a[5][0]"), ({"a": {object(): 1}}, "$.a")):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode(value)
        assert caught.value.path == path


def test_a_step_counts_by_number(harness: Harness) -> None:
    def prices() -> dict[int, str]:
        return {7: "1.50"}

    run_id = harness.trigger(harness.task(lambda: step(prices)()[7], name="t"))
    harness.run_until_idle()
    assert harness.result(run_id) == "1.50"
