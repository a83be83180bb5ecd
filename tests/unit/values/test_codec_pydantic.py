"""Pydantic models that are registered round-trip with all of their state."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trigger_celery.errors import DecodeError, EncodeError
from trigger_celery.values import JsonCodec, Registry

pydantic = pytest.importorskip("pydantic")


class Line(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    sku: str
    n: int = 1


class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    model_config = pydantic.ConfigDict(extra="allow")

    id: str = pydantic.Field(alias="orderId")
    when: datetime
    lines: tuple[Line, ...] = ()
    note: object = None
    _seen: int = pydantic.PrivateAttr(default=0)


class Names(pydantic.RootModel[list[str]]):  # type: ignore[misc, name-defined]
    pass


def codec() -> JsonCodec:
    registry = Registry()
    for cls in (Line, Order, Names):
        registry.register(cls)
    return JsonCodec(classes=registry)


def test_a_model_round_trips_with_aliases_extras_and_private_state() -> None:
    order = Order(
        orderId="o-1",
        when=datetime(2024, 1, 1, tzinfo=UTC),
        lines=(Line(sku="a"), Line(sku="b", n=2)),
        note={"$t": (1, {2})},
        more={"a b": b"x"},
        **{"$t": 5},
    )
    order._seen = 7
    back = codec().decode(codec().encode(order))
    assert isinstance(back, Order)
    assert back == order
    assert back.model_dump() == order.model_dump()
    assert back._seen == 7
    assert [line.model_fields_set for line in back.lines] == [{"sku"}, {"sku", "n"}]
    assert back.model_fields_set == order.model_fields_set


def test_a_root_model_round_trips() -> None:
    assert codec().decode(codec().encode(Names(["a"]))) == Names(["a"])


def test_a_refused_field_of_a_model_is_named() -> None:
    with pytest.raises(EncodeError) as caught:
        codec().encode([Order(orderId="1", when=datetime(2024, 1, 1), note=object())])
    assert caught.value.path == "$[0].note"


def test_a_model_that_is_not_registered_is_refused() -> None:
    with pytest.raises(EncodeError, match="@register"):
        JsonCodec(classes=Registry()).encode(Line(sku="a"))


def test_a_new_field_of_a_model_takes_its_default() -> None:
    back = codec().decode('{"$t":"object","n":"Line","v":{"sku":"a"}}')
    assert back == Line(sku="a")


@pytest.mark.parametrize("stored", ["{}", '{"sku":"a","gone":1}', "[]", '{"sku":"a"},"s":5'])
def test_state_that_does_not_fit_the_model_is_a_decode_error(stored: str) -> None:
    with pytest.raises(DecodeError):
        codec().decode(f'{{"$t":"object","n":"Line","v":{stored}}}')
