"""The parameters of generic models, ``Page[Item]``: as data, from names that this process knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from pathlib import Path
from types import EllipsisType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

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
