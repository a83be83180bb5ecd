"""Subclasses that add nothing are stored as their base, and so are the classes of frozen clocks."""

from __future__ import annotations

import collections
import copy
import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.template import Context, Template
from django.template.engine import Engine
from django.utils.safestring import SafeString, mark_safe

from support.exact import same
from trigger_celery import now, step
from trigger_celery.errors import EncodeError
from trigger_celery.testing import Harness
from trigger_celery.values import JsonCodec

CODEC = JsonCodec()


def again(value: Any) -> Any:
    return CODEC.decode(CODEC.encode(value))


def bare(base: Any) -> Any:
    return type(f"My{base.__name__}", (base,), {})


VALUES: list[tuple[Any, Any]] = [
    (mark_safe("<b>&</b>"), "<b>&</b>"),
    (bare(str)("a"), "a"),
    (bare(int)(-5), -5),
    (bare(float)(1.5), 1.5),
    (bare(bytes)(b"x"), b"x"),
    (bare(list)([1, (2,)]), [1, (2,)]),
    (bare(tuple)([1, {2}]), (1, {2})),
    (bare(dict)({"a": (1,)}), {"a": (1,)}),
    (bare(set)([1]), {1}),
    (bare(frozenset)([1]), frozenset([1])),
    (bare(Decimal)("1.50"), Decimal("1.50")),
    (bare(UUID)(int=7), UUID(int=7)),
    (bare(type(Path()))("/a b"), Path("/a b")),
    (bare(datetime.datetime)(2026, 1, 2, 3, fold=1), datetime.datetime(2026, 1, 2, 3, fold=1)),
    (bare(datetime.date)(2026, 1, 2), datetime.date(2026, 1, 2)),
    (bare(datetime.time)(3, 4, tzinfo=datetime.UTC), datetime.time(3, 4, tzinfo=datetime.UTC)),
    (bare(datetime.timedelta)(-1, 5), datetime.timedelta(-1, 5)),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
]


@pytest.mark.parametrize(("value", "base"), VALUES, ids=[type(v).__name__ for v, _ in VALUES])
def test_an_object_that_adds_nothing_is_stored_as_its_base(value: Any, base: Any) -> None:
    for whole, plain in ((value, base), ([value], [base]), ({"k": (value,)}, {"k": (base,)})):
        assert same(again(whole), plain)
        assert CODEC.encode(whole) == CODEC.encode(plain)


@pytest.mark.parametrize("value", [value for value, _ in VALUES[1:]], ids=repr)
def test_an_object_with_attributes_is_not(value: Any) -> None:
    special = copy.copy(value)
    vars(special)["language"] = "en"
    with pytest.raises(EncodeError, match="cannot be stored"):
        CODEC.encode([special])


@pytest.mark.parametrize(("base", "args"), [(float, ()), (list, ()), (datetime.date, (2026, 1, 1))])
def test_slots_are_something_that_a_class_adds(base: type, args: tuple[int, ...]) -> None:
    empty = type("Empty", (base,), {"__slots__": ()})
    assert type(again(empty(*args))) is base
    for slots in (("mine",), ("mine", "__dict__")):
        with pytest.raises(EncodeError, match="Slotted"):
            CODEC.encode(type("Slotted", (base,), {"__slots__": slots})(*args))


def test_a_list_of_a_subclass_that_contains_itself_is_refused_for_that() -> None:
    value = bare(list)()
    value.append({"a": value})
    with pytest.raises(EncodeError, match="contains itself"):
        CODEC.encode({"x": value})


def test_numbers_of_a_subclass_have_the_limits_of_numbers() -> None:
    for value in (bare(float)("nan"), bare(int)(10**4000)):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode({"x": [value]})
        assert caught.value.path == "$.x[0]"


def test_a_rendered_template_is_a_result(harness: Harness) -> None:
    def render() -> str:
        return Template("<b>{{ x }}</b>", engine=Engine()).render(Context({"x": 1}))

    assert type(render()) is SafeString
    run_id = harness.trigger(harness.task(step(render), name="t"))
    harness.run_until_idle()
    assert same(harness.result(run_id), "<b>1</b>")


def test_two_keys_that_would_come_back_as_one_are_refused() -> None:
    class Alone(str):
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    for value in ({Alone("a"): 1, Alone("a"): 2}, {Alone("a"), Alone("a")}):
        with pytest.raises(EncodeError, match="would come back as one"):
            CODEC.encode([value])


@pytest.mark.parametrize("library", ["freezegun", "time_machine"])
def test_a_step_returns_times_while_a_test_holds_the_clock(library: str, harness: Harness) -> None:
    module = pytest.importorskip(library)
    hold = module.freeze_time if library == "freezegun" else module.travel
    seen = []

    @step
    def times() -> dict[str, object]:
        aware = datetime.datetime.now(datetime.UTC)
        return {
            "aware": aware,
            "plain": datetime.datetime(2026, 1, 1),
            "day": datetime.date.today(),
        }

    def body() -> object:
        seen.append(times())
        return [seen[-1], now()]

    with hold("2026-02-15T16:23:44Z"):
        run_id = harness.trigger(harness.task(body))
        harness.run_until_idle()
        result: Any = harness.result(run_id)
    moment = {type(value) for value in result[0].values()}
    assert moment == {datetime.datetime, datetime.date}
    assert result[0]["aware"].replace(microsecond=0) == datetime.datetime(
        2026, 2, 15, 16, 23, 44, tzinfo=datetime.UTC
    )
    assert (result[0]["plain"], result[0]["day"]) == (
        datetime.datetime(2026, 1, 1),
        datetime.date(2026, 2, 15),
    )
    assert same(seen[0], result[0])
