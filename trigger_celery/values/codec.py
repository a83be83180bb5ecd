"""The one way of values into stored text and back: plain JSON, exact to the type.

The writer makes of a value one that plain JSON can hold, the codec makes the text and reads it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MemberDescriptorType
from typing import Any, Protocol
from uuid import UUID

from trigger_celery.errors import DecodeError, EncodeError, PayloadTooLarge
from trigger_celery.values.failures import Failure, describe
from trigger_celery.values.refusal import Refused, refuse, segment
from trigger_celery.values.registry import Registry, registry
from trigger_celery.values.shapes import Shape
from trigger_celery.values.strict import finite, nests_deeper, no_constant
from trigger_celery.values.types import DUMPERS, LOADERS, TAG, Envelope
from trigger_celery.vocabulary.identity import new_token

DEEPEST = 200
"""The largest ``max_depth``: what any codec wrote, every codec reads."""

# A tagged form is two levels of JSON, and a failure has its chain of causes inside.
_DEEPEST_JSON = 2 * DEEPEST + 32

# Far over the limit, the text is not built at all; up to here the error has its true size.
_HOPELESS = 8

_SPACE = " \t\n\r"


class JsonCodec:
    """Turns values into canonical ASCII JSON and back into equal values of the same types.

    Takes None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, date,
    time, timedelta, Decimal, UUID, Path, exceptions (which come back as ``Failure``) and objects
    of registered classes. An object of a subclass that adds nothing to one of these types comes
    back as an object of that type. Whatever else is refused. Immutable, and so safe to share
    between threads.
    """

    def __init__(
        self,
        limit: int = 1_000_000,
        max_depth: int = 64,
        *,
        classes: Registry = registry,
        stand_in: Callable[[object], object] = refuse,
    ) -> None:
        """``limit`` is in bytes of text, ``max_depth`` in containers within containers.

        ``stand_in`` is given what would be refused, and returns a list or dict to store in
        its place; what comes back is only that, so values of authors go without.
        """
        if not 1 <= max_depth <= DEEPEST:
            raise ValueError(f"expected max_depth to be from 1 to {DEEPEST}, got: {max_depth!r}")
        self._limit = limit
        self._max_depth = max_depth
        self._classes = classes
        self._stand_in = stand_in
        self._parse = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=finite, parse_constant=no_constant
        ).raw_decode

    def encode(self, value: object, *, what: str = "value") -> str:
        """The text of ``value``; ``what`` names it in the error of a text that is too large.

        Raises ``EncodeError`` with the path of the first part that cannot be stored, and
        ``PayloadTooLarge``, whose size is a lower bound where the text was not even built.
        """
        room = self._limit * _HOPELESS
        writer = Writer(room, self._max_depth, self._classes, self._stand_in)
        try:
            text = dumps(writer.root(value))
        except Refused as refused:
            raise refused.error() from None
        except RecursionError:
            raise EncodeError("$", type(value).__qualname__, "it is nested too deeply") from None
        except ValueError:
            hint = "it has more digits than sys.set_int_max_str_digits allows: store `hex(value)`"
            raise EncodeError("$", "int", hint) from None
        except NoRoom:
            raise PayloadTooLarge(what, room - writer.room, self._limit) from None
        if len(text) > self._limit:
            raise PayloadTooLarge(what, len(text), self._limit)
        return text

    def decode(self, text: str) -> object:
        """The value that ``text`` stores. Raises ``DecodeError`` for all that is no such text.

        Nothing is imported or evaluated; objects are of registered classes only.
        """
        try:
            start = text if text[:1] not in _SPACE else text.lstrip(_SPACE)
            value, end = self._parse(start)
            if end != len(start) and start[end:].strip(_SPACE):
                raise DecodeError(f"more text after the value, at character {end}")
        except DecodeError:
            raise
        except RecursionError:
            raise DecodeError("the text is nested too deeply") from None
        except (ValueError, TypeError) as error:
            raise DecodeError(f"not the text of a stored value: {error}") from error
        # With fewer brackets than that there is nothing to measure, which is the common case.
        brackets = text.count("[") + text.count("{")
        if brackets > _DEEPEST_JSON and nests_deeper(text, _DEEPEST_JSON):
            raise DecodeError("the text is nested too deeply")
        return value

    def _object(self, pairs: list[tuple[str, object]]) -> object:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise DecodeError("an object of the text has the same key twice")
        return self._untag(value) if TAG in value else value

    def _untag(self, form: dict[str, Any]) -> object:
        tag = form.pop(TAG)
        load = self._loader(tag)
        try:
            return load(**form)
        except DecodeError:
            raise
        except Exception as error:
            # Constructors of registered classes may raise anything when data does not fit.
            raise DecodeError(f"not a stored {tag}: {type(error).__name__}: {error}") from error

    def _loader(self, tag: object) -> Callable[..., object]:
        if tag == "object":
            return self._classes.load
        load = LOADERS.get(tag) if type(tag) is str else None
        if load is None:
            raise DecodeError(f"unknown tag {tag!r}: a newer version may have written this text")
        return load


NULL = "null"
"""The text of None."""


class _Encodes(Protocol):
    def encode(self, value: object, *, what: str = "value") -> str: ...


def list_text(parts: Iterable[str]) -> str:
    """Return the text of the list whose members have these texts."""
    return f"[{','.join(parts)}]"


def encode_around(codec: _Encodes, build: Callable[[str], object], text: str) -> str:
    """Return the text of a value with a stored text inside, where ``build`` puts its argument.

    Encoded once more that could be over the limit, and this process need not know its classes.
    """
    place = new_token()
    return codec.encode(build(place)).replace(json.dumps(place), text)


def canonical(text: str) -> str:
    """Return a text that does not depend on the order in which names were given."""
    return json.dumps(json.loads(text), sort_keys=True)


def identity_text(parts: Sequence[Any]) -> str:
    """Return the text by which a key of several parts is known, for a digest or an id."""
    return json.dumps(parts)


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


INT_BOUND = 10**4000
"""Python itself refuses to read numbers of more than 4,300 digits; this is a round verdict."""

dumps = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode


_SCALARS = frozenset({str, int, float, bool})
_KEYS = "convert its keys: `{str(key): item for key, item in value.items()}`"


class NoRoom(Exception):
    """The text would be far over the limit, whatever else is in the value."""


class Writer:
    """Walks one value, once. What needs no tag is returned as it is, not copied.

    ``room`` is how many bytes the text may still grow, estimated from below: a value that
    refers to one large part many times is given up before its text fills the memory.
    """

    __slots__ = ("_classes", "_max_depth", "_registry", "_stand_in", "room")

    def __init__(
        self,
        room: int,
        max_depth: int,
        registry: Registry,
        stand_in: Callable[[object], object],
    ) -> None:
        self.room = room
        self._max_depth = max_depth
        self._registry = registry
        self._classes = registry.by_class
        self._stand_in = stand_in

    def root(self, value: object) -> object:
        """What to give to ``dumps``. Raises ``Refused``, and ``NoRoom``."""
        whole = [value]
        return self._parts(whole, whole, enumerate(whole), 0)[0]

    def _parts(self, owner: object, parts: Any, pairs: Iterable[Any], depth: int) -> Any:
        """``parts``, or a copy with tagged forms; a list or dict whose items are ``pairs``.

        ``owner`` is the container itself where ``parts`` stands in for it.
        """
        if depth > self._max_depth:
            raise Refused(
                type(owner).__qualname__, f"it is over {self._max_depth} levels deep", owner
            )
        result = parts
        size = 2 * len(parts)
        key = None
        try:
            for key, item in pairs:
                kind = type(item)
                if kind is str:
                    size += len(item)
                elif kind is int:
                    if not -INT_BOUND < item < INT_BOUND:
                        raise Refused("int", "it has over 4,000 digits: store `hex(value)`")
                elif kind is float:
                    if not isfinite(item):
                        raise Refused("float", f"JSON has no {item}: use `None` or `str(value)`")
                elif kind is not bool and item is not None:
                    form = self._form(item, item, kind, depth + 1)
                    if form is not item:
                        if result is parts:
                            result = parts.copy()
                        result[key] = form
        except Refused as refused:
            refused.leave(owner, segment(key))
            raise
        self._spend(size)
        return result

    def _spend(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise NoRoom

    def _form(self, owner: object, value: Any, kind: type, depth: int) -> object:
        """The form of ``value``, which stands in for ``owner`` where it is not the same."""
        if kind is dict:
            return self._dict(owner, value, depth)
        if kind is list:
            return self._parts(owner, value, enumerate(value), depth)
        if kind is tuple:
            parts = list(value)
            return {TAG: "tuple", "v": self._parts(owner, parts, enumerate(parts), depth)}
        if kind is set or kind is frozenset:
            return {TAG: kind.__name__, "v": self._set(owner, value, depth)}
        dump = DUMPERS.get(kind)
        if dump is not None:
            return self._leaf(dump(value))
        known = self._classes.get(kind) or self._registry.of_parameters(kind)
        if known is not None:
            return self._object(value, *known, depth)
        if isinstance(value, BaseException):
            return self._leaf(DUMPERS[Failure](describe(value)))
        simple = plain(value)
        return self._entry(owner, self._stand_in(value) if simple is value else simple, depth)

    def _entry(self, owner: object, value: Any, depth: int) -> object:
        """The form of what was made of ``owner``, whose place in the path it has."""
        kind = type(value)
        if value is None or kind in _SCALARS:
            whole = [value]
            try:
                return self._parts(owner, whole, enumerate(whole), 0)[0]
            except Refused as refused:
                refused.path.clear()
                raise
        return self._form(owner, value, kind, depth)

    def _dict(self, owner: object, value: dict[Any, object], depth: int) -> object:
        for key in value:
            if type(key) is not str:
                return self._keyed(owner, value, self._keys(value, depth), depth)
        return (
            self._keyed(owner, value, value, depth)
            if TAG in value
            else self._parts(owner, value, value.items(), depth)
        )

    def _keyed(
        self, owner: object, value: dict[Any, object], keys: Collection[object], depth: int
    ) -> object:
        parts = self._parts(owner, value, value.items(), depth).values()
        if TAG not in keys and all(type(key) is str for key in keys):
            return dict(zip(keys, parts, strict=True))
        return {TAG: "dict", "k": list(keys), "v": list(parts)}

    def _keys(self, value: dict[Any, object], depth: int) -> list[object]:
        forms = []
        for key in value:
            try:
                forms.append(self._entry(key, key, depth + 1))
            except Refused as refused:
                kind = f"dict with a key of type {type(key).__qualname__}"
                raise Refused(kind, _KEYS) from refused
        return _distinct(forms)

    def _set(self, owner: object, value: Iterable[object], depth: int) -> object:
        parts = list(value)
        try:
            forms = self._parts(owner, parts, enumerate(parts), depth)
        except Refused as refused:
            # Elements have no place that a reader could look at.
            refused.path[-1] = "[*]"
            raise
        # The order of a set differs between processes; that of its elements' texts does not.
        return sorted(_distinct(forms), key=dumps)

    def _object(self, value: object, name: str, shape: Shape, depth: int) -> Envelope:
        try:
            entries = shape.dump(value)
        except Exception as error:
            kind = type(value).__qualname__
            raise Refused(kind, f"its state cannot be read: {error}") from error
        forms = {key: self._entry(value, entry, depth) for key, entry in entries.items()}
        return {TAG: "object", "n": name, **forms}

    def _leaf(self, form: Envelope) -> Envelope:
        text = form["v"]
        if type(text) is str:
            self._spend(len(text))
        return form


def _distinct(forms: list[object]) -> list[object]:
    """Raise ``Refused`` for two that come back equal: a subclass may compare by other rules."""
    scalars = [form for form in forms if type(form) in _SCALARS]
    if len(set(scalars)) < len(scalars):
        raise Refused("collection", "two of its members or keys would come back as one")
    return forms
