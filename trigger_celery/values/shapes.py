"""How objects of enums, dataclasses, named tuples and models become data, and are built again."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Set
from dataclasses import MISSING
from enum import Enum, Flag
from types import BuiltinFunctionType
from typing import Any, Protocol

from trigger_celery.errors import DecodeError

Dump = Callable[[Any], object]
Load = Callable[[Any], Any]


class Shape(Protocol):
    """How the objects of one class become data and come back."""

    def dump(self, value: Any) -> dict[str, object]:
        """The entries of the tagged form; ``v`` may hold values that are still to be encoded."""

    def load(self, v: Any, s: Any = None) -> object:
        """The object again, from those entries."""


@dataclasses.dataclass(frozen=True, slots=True)
class EnumShape:
    """Members by name; combinations of flags have none and go by their number."""

    cls: type[Enum]

    def dump(self, value: Enum) -> dict[str, object]:
        if isinstance(value, Flag):
            return {"v": value.value}
        if self.cls.__members__.get(value.name) is not value:
            raise ValueError("it is not one of the members that its class declares")
        return {"v": value.name}

    def load(self, v: Any, s: Any = None) -> object:
        return self.cls(v) if issubclass(self.cls, Flag) else self.cls[v]


@dataclasses.dataclass(frozen=True, slots=True)
class TupleShape:
    """Named tuples: by field name, so that a new field with a default can be added later."""

    cls: Any

    def dump(self, value: Any) -> dict[str, object]:
        return {"v": dict(zip(self.cls._fields, value, strict=True))}

    def load(self, v: Any, s: Any = None) -> object:
        _same_fields(v, set(self.cls._fields), set(self.cls._field_defaults))
        stored = {**self.cls._field_defaults, **v}
        return self.cls._make(stored[name] for name in self.cls._fields)


@dataclasses.dataclass(frozen=True, slots=True)
class DataclassShape:
    """Dataclasses: fields, and attributes beside them, are set as they were stored.

    The constructor is not run again, nor ``__post_init__``: its effects were had already.
    """

    cls: Any
    fields: tuple[dataclasses.Field[Any], ...]

    def dump(self, value: Any) -> dict[str, object]:
        fields = {
            field.name: getattr(value, field.name)
            for field in self.fields
            if field.init or hasattr(value, field.name)
        }
        attributes = getattr(value, "__dict__", fields)
        if attributes.keys() <= fields.keys():
            return {"v": fields}
        beside = {
            name: attribute
            for name, attribute in attributes.items()
            if name not in fields and not self._made_again(name)
        }
        return {"v": fields, "s": beside} if beside else {"v": fields}

    def load(self, v: Any, s: Any = None) -> object:
        optional = {field.name for field in self.fields if not field.init or _defaults(field)}
        _same_fields(v, {field.name for field in self.fields}, optional)
        value = object.__new__(self.cls)
        for field in self.fields:
            if field.name in v:
                # Frozen classes refuse setattr.
                object.__setattr__(value, field.name, v[field.name])
            elif _defaults(field):
                object.__setattr__(value, field.name, _default_of(field))
        if s is not None:
            vars(value).update(s)
        return value

    def _made_again(self, name: str) -> bool:
        # Cached properties, and what the typing module leaves on objects of generic classes.
        return name.startswith("__") or hasattr(getattr(self.cls, name, None), "__set_name__")


@dataclasses.dataclass(frozen=True, slots=True)
class CustomShape:
    """Classes with functions of their own; where one is missing, ``shape`` does that half."""

    shape: Shape | None
    dumps: Dump | None
    loads: Load | None

    def dump(self, value: Any) -> dict[str, object]:
        if self.dumps is not None:
            return {"v": self.dumps(value)}
        assert self.shape is not None
        return {"v": self.shape.dump(value)["v"]}

    def load(self, v: Any, s: Any = None) -> object:
        if self.loads is not None:
            return self.loads(v)
        assert self.shape is not None
        return self.shape.load(v, s)


@dataclasses.dataclass(frozen=True, slots=True)
class ParametersShape:
    """Generic models with parameters: as ``shape`` says, which the parameters go with."""

    shape: Shape
    parameters: list[object]

    def dump(self, value: Any) -> dict[str, object]:
        return {**self.shape.dump(value), "a": self.parameters}

    def load(self, v: Any, s: Any = None) -> object:
        return self.shape.load(v, s)


@dataclasses.dataclass(frozen=True, slots=True)
class ModelShape:
    """Pydantic models: their state as it is, not validated again, for validators may change it."""

    cls: Any

    def dump(self, value: Any) -> dict[str, object]:
        state = value.__getstate__()
        fields, assigned = state["__dict__"], state["__pydantic_fields_set__"]
        known = {name: fields[name] for name in self.cls.model_fields if name in fields}
        extra = state.get("__pydantic_extra__") or {}
        body = {**known, **extra, **(state.get("__pydantic_private__") or {})}
        complete = assigned == known.keys() | extra.keys()
        return {"v": body} if complete else {"v": body, "s": sorted(assigned)}

    def load(self, v: Any, s: Any = None) -> object:
        fields, private = self.cls.model_fields, self.cls.__private_attributes__
        takes_extra = self.cls.model_config.get("extra") == "allow"
        optional = {name for name, field in fields.items() if not field.is_required()}
        known = {*fields, *private, *(v if takes_extra else ())}
        _same_fields(v, known, known - fields.keys() | optional)
        defaults = {
            name: fields[name].get_default(call_default_factory=True)
            for name in optional - v.keys()
        }
        extra = {name: v[name] for name in v if name not in fields and name not in private}
        state = {
            "__dict__": {name: v.get(name, defaults.get(name)) for name in fields},
            "__pydantic_extra__": extra if takes_extra else None,
            "__pydantic_fields_set__": set(v) - private.keys() if s is None else set(s),
            "__pydantic_private__": {name: v[name] for name in private if name in v} or None,
        }
        value = self.cls.__new__(self.cls)
        value.__setstate__(state)
        return value


def shape_of(cls: Any) -> Shape | None:
    """The shape of a class, or ``None`` for one of no kind that is known here."""
    if issubclass(cls, Enum):
        return EnumShape(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make"):
        return TupleShape(cls)
    # Looked up, not imported: code with a model to register has imported pydantic.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return ModelShape(cls)
    if dataclasses.is_dataclass(cls) and _is_plain(cls):
        return DataclassShape(cls, dataclasses.fields(cls))
    return None


def _is_plain(cls: Any) -> bool:
    """Whether its objects are no more than their attributes: no base written in C has others."""
    news = (vars(each).get("__new__") for each in cls.__mro__)
    return next(new for new in news if isinstance(new, BuiltinFunctionType)) is object.__new__


def _default_of(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is MISSING:
        return field.default
    return field.default_factory()


def _defaults(field: dataclasses.Field[Any]) -> bool:
    return (field.default, field.default_factory) != (MISSING, MISSING)


def _same_fields(stored: Any, known: Set[str], optional: Set[str]) -> None:
    """Refuse what the class of today cannot hold. Raises ``DecodeError``."""
    if type(stored) is not dict:
        raise DecodeError(f"expected the fields of an object, got: {type(stored).__name__}")
    unknown, missing = sorted(stored.keys() - known), sorted(known - optional - stored.keys())
    if unknown or missing:
        raise DecodeError(
            f"the class changed since: unknown fields {unknown}, missing fields {missing}; "
            "give new fields a default and keep old ones while stored values use them"
        )
