"""The classes of an application that the codec stores, each under a name.

A stored object names its class by that name only: reading never imports a module or
looks up an attribute by a text that was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from pathlib import Path
from types import EllipsisType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, overload
from uuid import UUID

from trigger_celery.errors import DeclarationError, DecodeError
from trigger_celery.values.shapes import (
    CustomShape,
    Dump,
    Load,
    ModelShape,
    ParametersShape,
    Shape,
    shape_of,
)
from trigger_celery.values.types import STORED

_TYPES: dict[str, Any] = {
    **{
        cls.__name__: cls
        for cls in (
            *(bool, int, float, str, bytes, list, tuple, dict, set, frozenset, object, NoneType),
            *(date, datetime, time, timedelta, Decimal, UUID, Path),
        )
    },
    "Any": Any,
    "Union": Union,
    "...": ...,
}
# Pydantic makes a class of either, and so either is stored.
_UNIONS: dict[Any, str] = {UnionType: "|", Union: "Union"}
_NAMES = {cls: name for name, cls in _TYPES.items()}


def origin_of(cls: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The generic model and its parameters, for a class that pydantic made of them."""
    found = getattr(cls, "__pydantic_generic_metadata__", None)
    return (found["origin"], found["args"]) if found and found["origin"] else None


def spelled(parameter: Any, classes: Mapping[type, tuple[str, Any]]) -> object:
    """A parameter as plain data. Raises ``LookupError`` for one that has no name here."""
    if isinstance(parameter, EllipsisType) or parameter is Any or parameter in _NAMES:
        return _NAMES[parameter]
    if parameter in classes:
        return {"n": classes[parameter][0]}
    model = origin_of(parameter)
    origin, inner = model or (get_origin(parameter), get_args(parameter))
    if origin is None:
        raise LookupError(parameter)
    name = _UNIONS.get(origin) or spelled(origin, classes)
    return {"o": name, "a": [spelled(each, classes) for each in inner]}


def read(form: Any, classes: Mapping[str, tuple[type, Any]]) -> Any:
    """The parameter again. Raises ``LookupError`` or ``TypeError`` for what is none."""
    if type(form) is str:
        return _TYPES[form]
    if "n" in form:
        return classes[form["n"]][0]
    inner = [read(each, classes) for each in form["a"]]
    if form["o"] == "|":
        return reduce(or_, inner)
    return read(form["o"], classes)[tuple(inner)]


T = TypeVar("T")


class Registry:
    """The classes that one codec stores, by class and by name."""

    def __init__(self) -> None:
        self.by_class: dict[type, tuple[str, Shape]] = {}
        self.by_name: dict[str, tuple[type, Shape]] = {}

    @overload
    def register(
        self,
        cls: type[T],
        name: str | None = None,
        *,
        dump: Callable[[T], object] | None = None,
        load: Callable[[Any], T] | None = None,
    ) -> type[T]: ...

    @overload
    def register(
        self,
        cls: None = None,
        name: str | None = None,
        *,
        dump: Dump | None = None,
        load: Load | None = None,
    ) -> Callable[[type[T]], type[T]]: ...

    def register(
        self,
        cls: type[T] | None = None,
        name: str | None = None,
        *,
        dump: Dump | None = None,
        load: Load | None = None,
    ) -> type[T] | Callable[[type[T]], type[T]]:
        """Let the codec store objects of ``cls``: a dataclass, enum, named tuple or pydantic model.

        Use it as ``@register``, ``@register(name="order")`` or ``register(Order)``; the call
        is for classes of a library. ``name`` is what is stored; it defaults to the class's
        qualified name. Keep it when you rename the class.

        Objects are built again without their constructor. ``dump(value)`` returns what to store
        in place of an object, and ``load(stored)`` the object; a class of any other kind needs
        both. Without ``dump``, ``load`` is given a dict of the fields, or an enum's name.

        Raises ``DeclarationError`` for a class of no known shape without both functions, for
        one that is stored anyway, and for a name that is taken.
        """
        if cls is None:
            return lambda cls: self.register(cls, name, dump=dump, load=load)
        shape = _shape_for(cls, dump, load)
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

    def of_parameters(self, cls: type) -> tuple[str, Shape] | None:
        """How objects of ``Page[Item]`` are stored if ``Page`` is registered, and ``Item`` too."""
        found = origin_of(cls)
        known = self.by_class.get(found[0]) if found else None
        if found is None or known is None or not isinstance(known[1], ModelShape):
            return known
        try:
            parameters = [spelled(each, self.by_class) for each in found[1]]
            if self._with(found[0], parameters) is not cls:
                return None
        except (LookupError, TypeError):
            return None
        self.by_class[cls] = known[0], ParametersShape(ModelShape(cls), parameters)
        return self.by_class[cls]

    def load(self, n: Any, v: Any, s: Any = None, a: Any = None) -> object:
        """The object of the class that is registered as ``n``. Raises ``DecodeError``."""
        found = self.by_name.get(n)
        if found is None:
            raise DecodeError(
                f"no class is registered as {n!r} in this process: import the module "
                "that registers it, or register its successor under that name"
            )
        cls, shape = found
        if a is None or not isinstance(shape, ModelShape):
            return shape.load(v, s)
        return ModelShape(self._with(cls, a)).load(v, s)

    def _with(self, cls: Any, parameters: list[object]) -> Any:
        return cls[tuple(read(each, self.by_name) for each in parameters)]


def _shape_for(cls: Any, dump: Dump | None, load: Load | None) -> Shape:
    if not isinstance(cls, type):
        origin = get_origin(cls)
        hint = f": register({origin.__name__}) serves all its parameters" if origin else ""
        raise DeclarationError(f"expected a class to register, got: {cls!r}{hint}")
    if cls in STORED:
        raise DeclarationError(f"{cls.__name__} is stored as it is: there is nothing to register")
    shape = shape_of(cls)
    if dump is None and load is None:
        if shape is None:
            raise DeclarationError(
                "expected a dataclass, enum, named tuple or pydantic model to register, "
                f"got: {cls!r}; give dump= and load=, functions from its objects to data and back"
            )
        return shape
    if shape is None and (dump is None or load is None):
        raise DeclarationError(f"expected both dump= and load= to register {cls!r}")
    return CustomShape(shape, dump, load)


def _identity(cls: type) -> tuple[str, str]:
    # A module that is reloaded declares the same class again, which is not a clash.
    return cls.__module__, cls.__qualname__


registry = Registry()
"""The one that codecs use unless they are given another."""

register = registry.register
