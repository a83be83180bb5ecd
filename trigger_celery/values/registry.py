"""The classes of an application that the codec stores, each under a name.

A stored object names its class by that name only: reading never imports a module or
looks up an attribute by a text that was stored.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import MISSING
from enum import Enum, Flag
from typing import Any, Protocol, TypeVar, overload

from trigger_celery.errors import DeclarationError, DecodeError

T = TypeVar("T")

_BUILT_IN = (str, int, float, bytes, list, tuple, dict, set, frozenset, BaseException)


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
    """Dataclasses: built by their constructor, then every field is set as it was stored."""

    cls: Any

    def dump(self, value: Any) -> dict[str, object]:
        names = (field.name for field in self._fields() if field.init or hasattr(value, field.name))
        return {"v": {name: getattr(value, name) for name in names}}

    def load(self, v: Any, s: Any = None) -> object:
        fields = self._fields()
        optional = {
            field.name
            for field in fields
            if not field.init or (field.default, field.default_factory) != (MISSING, MISSING)
        }
        _same_fields(v, {field.name for field in fields}, optional)
        given = {field.name: v[field.name] for field in fields if field.init and field.name in v}
        value = self.cls(**given)
        for name, stored in v.items():
            # A ``__post_init__`` may derive or change fields; frozen classes refuse setattr.
            object.__setattr__(value, name, stored)
        return value

    def _fields(self) -> tuple[dataclasses.Field[object], ...]:
        return dataclasses.fields(self.cls)


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


class Registry:
    """The classes that one codec stores, by class and by name."""

    def __init__(self) -> None:
        self.by_class: dict[type, tuple[str, Shape]] = {}
        self.by_name: dict[str, tuple[type, Shape]] = {}

    @overload
    def register(self, cls: type[T], name: str | None = None) -> type[T]: ...

    @overload
    def register(
        self, cls: None = None, name: str | None = None
    ) -> Callable[[type[T]], type[T]]: ...

    def register(
        self, cls: type[T] | None = None, name: str | None = None
    ) -> type[T] | Callable[[type[T]], type[T]]:
        """Let the codec store objects of ``cls``: a dataclass, enum, named tuple or pydantic model.

        Use it as ``@register``, ``@register(name="order")`` or ``register(Order)``. ``name``
        is what is stored; it defaults to the class's qualified name. Keep it when you rename
        the class. Raises ``DeclarationError`` for other classes and for a name that is taken.
        """
        if cls is None:
            return lambda cls: self.register(cls, name)
        shape = _shape_of(cls)
        label = cls.__qualname__ if name is None else name
        taken = self.by_name.get(label)
        if taken is not None and _identity(taken[0]) != _identity(cls):
            raise DeclarationError(
                f"the name {label!r} already stands for {taken[0]!r}: "
                f"register {cls!r} with another name="
            )
        self.by_name[label] = (cls, shape)
        self.by_class[cls] = (label, shape)
        return cls

    def load(self, n: Any, v: Any, s: Any = None) -> object:
        """The object of the class that is registered as ``n``. Raises ``DecodeError``."""
        found = self.by_name.get(n)
        if found is None:
            raise DecodeError(
                f"no class is registered as {n!r} in this process: import the module "
                "that registers it, or register its successor under that name"
            )
        return found[1].load(v, s)


def _shape_of(cls: Any) -> Shape:
    if not isinstance(cls, type):
        raise DeclarationError(f"expected a class to register, got: {cls!r}")
    if issubclass(cls, Enum):
        return EnumShape(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make"):
        return TupleShape(cls)
    # Looked up, not imported: whoever has a model to register has imported pydantic.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return ModelShape(cls)
    if dataclasses.is_dataclass(cls) and not issubclass(cls, _BUILT_IN):
        return DataclassShape(cls)
    raise DeclarationError(
        f"expected a dataclass, enum, named tuple or pydantic model to register, got: {cls!r}"
    )


def _same_fields(stored: Any, known: set[str], optional: set[str]) -> None:
    """Refuse what the class of today cannot hold. Raises ``DecodeError``."""
    if type(stored) is not dict:
        raise DecodeError(f"expected the fields of an object, got: {type(stored).__name__}")
    unknown, missing = sorted(stored.keys() - known), sorted(known - optional - stored.keys())
    if unknown or missing:
        raise DecodeError(
            f"the class changed since: unknown fields {unknown}, missing fields {missing}; "
            "give new fields a default and keep old ones while stored values use them"
        )


def _identity(cls: type) -> tuple[str, str]:
    # A module that is reloaded declares the same class again, which is not a clash.
    return cls.__module__, cls.__qualname__


registry = Registry()
"""The one that codecs use unless they are given another."""

register = registry.register
