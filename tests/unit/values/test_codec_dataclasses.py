"""A dataclass is built again from what it was, and its constructor does not run again."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from trigger_celery import register, step
from trigger_celery.errors import DeclarationError, EncodeError
from trigger_celery.testing import Harness
from trigger_celery.values import JsonCodec, Registry
from trigger_celery.values.registry import registry as shared

T = TypeVar("T")
EFFECTS: list[str] = []


@dataclasses.dataclass
class Parcel:
    id: str
    label: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        EFFECTS.append(self.id)
        if len(EFFECTS) > 1:
            raise RuntimeError("the label was printed already")
        self.label = f"label of {self.id}"


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    a: int
    seed: dataclasses.InitVar[int]
    doubled: int = dataclasses.field(init=False)

    def __post_init__(self, seed: int) -> None:
        object.__setattr__(self, "doubled", 2 * seed)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Child(Base):
    limit: ClassVar[int] = 5
    b: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


class Plain:
    def __init__(self, x: int) -> None:
        self.x = x

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.x


@dataclasses.dataclass
class Cached:
    x: int

    @functools.cached_property
    def twice(self) -> object:
        return object()


def codec(*classes: type, **options: Any) -> JsonCodec:
    registry = Registry()
    for cls in classes:
        registry.register(cls, **options)
    return JsonCodec(classes=registry)


def again(value: Any, *classes: type, **options: Any) -> Any:
    it = codec(*(classes or (type(value),)), **options)
    return it.decode(it.encode(value))


def print_label() -> Parcel:
    return Parcel("p-1")


def test_a_replay_does_not_run_the_constructor_of_a_result(harness: Harness) -> None:
    EFFECTS.clear()
    register(Parcel, name="test_codec_dataclasses.Parcel")
    try:
        run_id = harness.trigger(harness.task(step(print_label), name="t"))
        harness.run_until_idle()
        assert harness.result(run_id).label == "label of p-1"
        assert EFFECTS == ["p-1"]
    finally:
        shared.by_class.pop(shared.by_name.pop("test_codec_dataclasses.Parcel")[0])


def test_frozen_slotted_and_inherited_fields_come_back_without_their_init_only_ones() -> None:
    value = Child(1, 21, b=[3])
    back = again(value)
    assert (back, back.doubled, type(back)) == (value, 42, Child)


def test_a_generic_dataclass_is_registered_once_for_all_its_parameters() -> None:
    back = again([Box[int](1), Box("a")], Box)
    assert back == [Box(1), Box("a")]
    with pytest.raises(DeclarationError, match=r"register\(Box\) serves all its parameters"):
        Registry().register(Box[int])


def test_what_a_class_has_cached_is_not_stored() -> None:
    value = Cached(1)
    assert value.twice
    assert vars(again(value)) == {"x": 1}


def test_an_attribute_beside_the_fields_comes_back_or_is_refused_by_its_name() -> None:
    value = Box(1)
    value.extra = (2,)  # type: ignore[attr-defined]
    assert again(value).extra == (2,)
    value.extra = object()  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"^\$\.extra: object cannot be stored"):
        again(value)


def test_load_builds_a_value_through_its_constructor() -> None:
    EFFECTS.clear()
    parcel = Parcel("p-1")
    EFFECTS.clear()
    back = again(parcel, load=lambda fields: Parcel(fields["id"]))
    assert (back, EFFECTS) == (parcel, ["p-1"])


def test_a_class_of_any_other_kind_is_stored_by_two_functions() -> None:
    back = again(
        [Plain(5)], Plain, dump=lambda plain: {"x": (plain.x,)}, load=lambda d: Plain(*d["x"])
    )
    assert back[0].twice == 10
    for half in ({"dump": vars}, {"load": Plain}):
        with pytest.raises(DeclarationError, match="expected both dump= and load="):
            Registry().register(Plain, **half)


def test_what_dump_makes_is_refused_by_the_path_of_its_object() -> None:
    with pytest.raises(EncodeError) as caught:
        again({"a": Plain(5)}, Plain, dump=lambda plain: [plain.x, object()], load=Plain)
    assert caught.value.path == "$.a[1]"
    with pytest.raises(EncodeError) as caught:
        again([Plain(5)], Plain, dump=lambda plain: float("nan"), load=Plain)
    assert (caught.value.path, caught.value.kind) == ("$[0]", "float")
    with pytest.raises(EncodeError, match="its state cannot be read: no"):
        again(Plain(5), dump=_fails, load=Plain)
    with pytest.raises(EncodeError, match="nested too deeply"):
        again(Plain(5), dump=lambda plain: plain, load=Plain)


def _fails(value: object) -> object:
    raise ValueError("no")
