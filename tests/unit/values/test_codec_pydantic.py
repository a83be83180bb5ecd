"""Pydantic models that are registered round-trip with all of their state."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, Union

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


Item = TypeVar("Item")


class Page(pydantic.BaseModel, Generic[Item]):  # type: ignore[misc, name-defined]
    items: list[Item]
    next: int | None = None


class Priced(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """Written for people, and not to be read again: what is stored is the state."""

    amount: Decimal
    when: datetime

    @pydantic.field_serializer("amount")  # type: ignore[untyped-decorator]
    def _amount(self, amount: Decimal) -> str:
        return f"{amount} EUR"

    @pydantic.model_serializer(mode="wrap")  # type: ignore[untyped-decorator]
    def _whole(self, handler: Any) -> str:
        return f"<{handler(self)}>"


class Shop(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    url: pydantic.AnyUrl  # type: ignore[name-defined]
    lines: list[Line]


PARAMETERS = [
    int,
    str | None,
    Union[str, None],  # noqa: UP007
    Line,
    list[Line],
    dict[str, list[Line | int]],
    tuple[int, ...],
    Any,
    Page[Line],
    Page[Page[int] | None],
]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=repr)
def test_a_generic_model_is_registered_once_for_its_parameters(parameter: Any) -> None:
    def codec() -> JsonCodec:
        registry = Registry()
        registry.register(Page)
        registry.register(Line)
        return JsonCodec(classes=registry)

    value = Page[parameter](items=[])
    text = codec().encode([value, value])
    back: Any = codec().decode(text)
    assert back == [value, value]
    assert type(back[0]) is Page[parameter]
    assert codec().encode(back) == text


def test_the_items_of_a_generic_model_come_back() -> None:
    registry = Registry()
    registry.register(Page)
    registry.register(Line)
    it = JsonCodec(classes=registry)
    value = Page[Line](items=[Line(sku="a")])
    assert it.decode(it.encode(value)) == value
    assert it.decode(it.encode(Page(items=[1]))) == Page(items=[1])


def test_a_generic_model_of_what_has_no_name_is_registered_by_itself() -> None:
    registry = Registry()
    registry.register(Page)
    it = JsonCodec(classes=registry)
    other = Page[Line]
    with pytest.raises(EncodeError, match=r"`register\(Page\[Line\]\)`"):
        it.encode(other(items=[]))
    registry.register(other)
    assert type(it.decode(it.encode(other(items=[])))) is other


@pytest.mark.parametrize("stored", ['["x"]', '[{"n":"Gone"}]', "5", "[5]", '[{"o":"list"}]', "[]"])
def test_parameters_that_are_none_are_a_decode_error(stored: str) -> None:
    registry = Registry()
    registry.register(Page)
    registry.register(Line)
    it = JsonCodec(classes=registry)
    with pytest.raises(DecodeError):
        it.decode(f'{{"$t":"object","n":"Page","v":{{"items":[]}},"a":{stored}}}')


def test_a_model_with_serializers_is_stored_by_its_state() -> None:
    registry = Registry()
    registry.register(Priced)
    it = JsonCodec(classes=registry)
    value = Priced(amount=Decimal("1.50"), when=datetime(2026, 1, 1, tzinfo=UTC))
    assert it.decode(it.encode(value)) == value


def test_classes_of_a_library_inside_of_a_model_are_registered_one_by_one_or_with_it() -> None:
    value = Shop(url="https://example.org/", lines=[Line(sku="a")])
    registry = Registry()
    registry.register(Shop)
    it = JsonCodec(classes=registry)
    with pytest.raises(EncodeError, match=r"^\$\.url: AnyUrl .*`register\(AnyUrl, dump="):
        it.encode(value)
    registry.register(pydantic.AnyUrl, dump=str, load=pydantic.AnyUrl)
    with pytest.raises(EncodeError, match=r"^\$\.lines\[0\]: Line .*`register\(Line\)`"):
        it.encode(value)
    registry.register(Line)
    assert it.decode(it.encode(value)) == value
    whole = Registry()
    whole.register(Shop, dump=Shop.model_dump_json, load=Shop.model_validate_json)
    it = JsonCodec(classes=whole)
    assert it.decode(it.encode([value])) == [value]
