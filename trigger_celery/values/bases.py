"""Subclasses of stored types that add nothing to them, which are stored as their base."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MemberDescriptorType
from typing import Any
from uuid import UUID

_POINTER = tuple.__itemsize__

# Bound while the module is loaded: what a test puts in the place of datetime's classes is not used.
_date_of = datetime.date
_time_of = datetime.timetz
_combine = datetime.combine
_ordinal = date.toordinal
_from_ordinal = date.fromordinal


def _time(value: time) -> time:
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return time(*clock, tzinfo=value.tzinfo, fold=value.fold)


_PLAIN: dict[type, Callable[[Any], object]] = {
    # Methods of the base, because a subclass may answer ``str(value)`` with itself.
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    list: list.copy,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    dict: dict.copy,
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    datetime: lambda value: _combine(_date_of(value), _time_of(value)),
    date: lambda value: _from_ordinal(_ordinal(value)),
    time: _time,
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
    type(Path()): Path,
    PurePosixPath: PurePosixPath,
    PureWindowsPath: PureWindowsPath,
}


def plain(value: object) -> object:
    """``value`` as an object of the stored type that it extends, or itself if that lost anything.

    A subclass adds something if it has slots, fields, members or other data of its own, or if
    this object has attributes.
    """
    cls = type(value)
    base = next((each for each in cls.__mro__ if each in _PLAIN), None)
    if base is None or base is cls or _has_rules(cls) or _adds_data(cls, base):
        return value
    return value if getattr(value, "__dict__", None) else _PLAIN[base](value)


def _has_rules(cls: type) -> bool:
    """Enums, dataclasses, named tuples and the like: their class is what they mean."""
    named = hasattr(cls, "_fields") or hasattr(cls, "n_sequence_fields")
    return named or issubclass(cls, Enum) or dataclasses.is_dataclass(cls)


def _adds_data(cls: type, base: type) -> bool:
    between = cls.__mro__[: cls.__mro__.index(base)]
    members = (member for each in between for member in vars(each).values())
    if any(isinstance(member, MemberDescriptorType) for member in members):
        return True
    # Data of classes written in C shows in their size alone.
    room = bool(cls.__dictoffset__) + bool(cls.__weakrefoffset__)
    return cls.__basicsize__ - base.__basicsize__ > room * _POINTER
