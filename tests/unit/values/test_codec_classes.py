"""Classes of an application are stored under a name, and come back as that class."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

import pytest

from support.exact import same
from trigger_celery.errors import DeclarationError, DecodeError, EncodeError
from trigger_celery.values import JsonCodec, Registry, register
from trigger_celery.values.registry import registry as shared


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = (2, "b")


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: object = (0,)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    sku: str
    when: date | None = None


@dataclasses.dataclass
class Order:
    id: str
    lines: list[Line] = dataclasses.field(default_factory=list)
    total: int = dataclasses.field(default=0, init=False)
    unset: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.id = self.id + "!"
        self.cache = {"made": True}


def codec(*classes: type) -> JsonCodec:
    registry = Registry()
    for cls in classes:
        registry.register(cls)
    return JsonCodec(classes=registry)


@pytest.mark.parametrize(
    "value",
    [
        Color.RED,
        Color.CRIMSON,
        Color.BLUE,
        Level.LOW,
        Access.READ,
        Access.READ | Access.WRITE,
        Access(0),
        Point(1),
        Point(1, {"$t": [Color.RED]}),
        Line(sku="a", when=date(2024, 1, 1)),
        pytest.param({Color.RED, Point(1), Line(sku="a")}, id="a set of them"),
    ],
    ids=repr,
)
def test_an_object_of_a_registered_class_round_trips(value: object) -> None:
    it = codec(Color, Level, Access, Point, Line)
    back = it.decode(it.encode([value]))
    assert back == [value]
    assert same(back, [value])


def test_every_field_of_a_dataclass_is_as_it_was_stored() -> None:
    it = codec(Order, Line)
    order = Order("o-1", [Line(sku="a")])
    order.total = 12
    back = it.decode(it.encode(order))
    assert isinstance(back, Order)
    assert (back.id, back.lines, back.total, back.cache) == (
        "o-1!",
        [Line(sku="a")],
        12,
        {"made": True},
    )
    assert not hasattr(back, "unset")


def test_the_stored_name_is_the_one_given() -> None:
    registry = Registry()
    registry.register(Line, name="line")
    it = JsonCodec(classes=registry)
    text = it.encode(Line(sku="a"))
    assert text == '{"$t":"object","n":"line","v":{"sku":"a","when":null}}'


def test_a_class_is_registered_by_a_plain_or_a_called_decorator() -> None:
    registry = Registry()

    @registry.register
    class One(enum.Enum):
        A = 1

    @registry.register(name="two")
    class Two(enum.Enum):
        A = 1

    it = JsonCodec(classes=registry)
    assert it.decode(it.encode([One.A, Two.A])) == [One.A, Two.A]
    assert it.encode(Two.A) == '{"$t":"object","n":"two","v":"A"}'


def test_register_without_a_registry_serves_every_codec() -> None:
    name = "test_codec_classes.Shared"
    try:

        @register(name=name)
        class Shared(enum.Enum):
            A = 1

        assert JsonCodec().decode(JsonCodec().encode(Shared.A)) is Shared.A
    finally:
        shared.by_class.pop(shared.by_name.pop(name)[0])


def test_one_name_cannot_stand_for_two_classes() -> None:
    registry = Registry()
    registry.register(Line, name="x")
    with pytest.raises(DeclarationError, match="already stands for .*Line.* another name="):
        registry.register(Order, name="x")


def test_a_reloaded_class_takes_the_place_of_the_old_one() -> None:
    def declare() -> type[enum.Enum]:
        class Again(enum.Enum):
            A = 1

        return Again

    registry = Registry()
    registry.register(declare())
    newer = registry.register(declare())
    it = JsonCodec(classes=registry)
    assert type(it.decode(it.encode(newer["A"]))) is newer


@dataclasses.dataclass
class BrokenDict(dict[str, int]):
    a: int = 1


@pytest.mark.parametrize("cls", [object, ValueError, BrokenDict, len, Line(sku="a"), list[int]])
def test_a_class_of_no_known_shape_cannot_be_registered(cls: type) -> None:
    with pytest.raises(DeclarationError, match="to register, got"):
        Registry().register(cls)


@pytest.mark.parametrize("cls", [int, dict, date, type(None)])
def test_a_type_that_is_stored_anyway_cannot_be_registered(cls: type) -> None:
    with pytest.raises(DeclarationError, match="is stored as it is"):
        Registry().register(cls, dump=str, load=str)


def test_a_refused_field_is_named_by_its_path() -> None:
    it = codec(Order, Point)
    with pytest.raises(EncodeError) as caught:
        it.encode({"order": Point(1, Order("1", [object()]))})  # type: ignore[list-item]
    assert caught.value.path == "$.order.y.lines[0]"


def test_an_object_that_contains_itself_is_refused() -> None:
    order = Order("1")
    order.lines.append(order)  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="contains itself"):
        codec(Order).encode(order)


def test_an_object_whose_state_cannot_be_read_is_refused_with_its_path() -> None:
    order = Order("1")
    del order.id
    with pytest.raises(EncodeError, match=r"\$\[0\]: Order cannot be stored: its state"):
        codec(Order).encode([order])


def test_a_subclass_of_a_registered_class_is_not_registered() -> None:
    class Special(Order):
        pass

    with pytest.raises(EncodeError, match="@register"):
        codec(Order).encode(Special("1"))


def _evolved(declare: Callable[[], type], stored: str) -> object:
    registry = Registry()
    registry.register(declare(), name="x")
    return JsonCodec(classes=registry).decode(f'{{"$t":"object","n":"x","v":{stored}}}')


def _dataclass() -> type:
    return dataclasses.make_dataclass(
        "New", ["a", ("b", list, dataclasses.field(default_factory=list))]
    )


def _named_tuple() -> type:
    class New(NamedTuple):
        a: int
        b: object = []

    return New


@pytest.mark.parametrize("declare", [_dataclass, _named_tuple])
def test_a_new_field_takes_its_default_when_older_text_is_read(declare: type) -> None:
    back = _evolved(declare, '{"a":1}')
    assert (back.a, back.b) == (1, [])  # type: ignore[attr-defined]


@pytest.mark.parametrize("declare", [_dataclass, _named_tuple])
@pytest.mark.parametrize("stored", ['{"b":1}', '{"a":1,"c":2}', "{}", "[]", "null", '"a"'])
def test_a_field_that_is_missing_or_gone_is_a_decode_error(declare: type, stored: str) -> None:
    with pytest.raises(DecodeError, match="fields"):
        _evolved(declare, stored)


def test_a_load_that_refuses_stored_data_is_a_decode_error() -> None:
    @dataclasses.dataclass
    class Picky:
        a: int

        def __post_init__(self) -> None:
            raise RuntimeError("never")

    registry = Registry()
    registry.register(Picky, name="x", load=lambda fields: Picky(**fields))
    with pytest.raises(DecodeError, match="RuntimeError: never"):
        JsonCodec(classes=registry).decode('{"$t":"object","n":"x","v":{"a":1}}')
    assert vars(_evolved(functools.partial(_same, Picky), '{"a":1}')) == {"a": 1}


def _same(cls: type) -> type:
    return cls


@pytest.mark.parametrize("stored", ['"GREEN"', "1", "null", "{}", "[]"])
def test_an_enum_member_that_does_not_exist_is_a_decode_error(stored: str) -> None:
    with pytest.raises(DecodeError):
        _evolved(functools.partial(_same, Color), stored)
