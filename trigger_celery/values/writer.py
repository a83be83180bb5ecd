"""The first half of encoding: a value becomes one that plain JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from trigger_celery.values.failures import Failure, describe
from trigger_celery.values.refusal import Refused, segment
from trigger_celery.values.registry import Shape
from trigger_celery.values.types import DUMPERS, TAG, Envelope

INT_BOUND = 10**4000
"""Python itself refuses to read numbers of more than 4,300 digits; this is a round verdict."""

dumps = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode


class NoRoom(Exception):
    """The text would be far over the limit, whatever else is in the value."""


class Writer:
    """Walks one value, once. What needs no tag is returned as it is, not copied.

    ``room`` is how many bytes the text may still grow, estimated from below: a value that
    refers to one large part many times is given up before its text fills the memory.
    """

    __slots__ = ("_classes", "_max_depth", "_stand_in", "room")

    def __init__(
        self,
        room: int,
        max_depth: int,
        classes: dict[type, tuple[str, Shape]],
        stand_in: Callable[[object], object],
    ) -> None:
        self.room = room
        self._max_depth = max_depth
        self._classes = classes
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
                        raise Refused("int", "it has over 4,000 digits: store it as text")
                elif kind is float:
                    if not isfinite(item):
                        raise Refused("float", f"JSON has no {item}: use None or a text")
                elif kind is not bool and item is not None:
                    form = self._form(item, kind, depth + 1)
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

    def _form(self, value: Any, kind: type, depth: int) -> object:
        if kind is dict:
            return self._dict(value, value, depth)
        if kind is list:
            return self._parts(value, value, enumerate(value), depth)
        if kind is tuple:
            parts = list(value)
            return {TAG: "tuple", "v": self._parts(value, parts, enumerate(parts), depth)}
        if kind is set or kind is frozenset:
            return {TAG: kind.__name__, "v": self._set(value, depth)}
        dump = DUMPERS.get(kind)
        if dump is not None:
            return self._leaf(dump(value))
        known = self._classes.get(kind)
        if known is not None:
            return self._object(value, *known, depth)
        if isinstance(value, BaseException):
            return self._leaf(DUMPERS[Failure](describe(value)))
        plain = self._stand_in(value)
        return self._form(plain, type(plain), depth)

    def _dict(self, owner: object, value: dict[str, object], depth: int) -> object:
        for key in value:
            if type(key) is not str:
                kind = type(key).__qualname__
                raise Refused(f"dict with a key of type {kind}", "keys must be str: use str(key)")
        parts = self._parts(owner, value, value.items(), depth)
        if TAG in value:
            return {TAG: "dict", "k": list(parts), "v": list(parts.values())}
        return parts

    def _set(self, value: Iterable[object], depth: int) -> object:
        parts = list(value)
        try:
            forms = self._parts(value, parts, enumerate(parts), depth)
        except Refused as refused:
            # Elements have no place that a reader could look at.
            refused.path[-1] = "[*]"
            raise
        # The order of a set differs between processes; that of its elements' texts does not.
        return sorted(forms, key=dumps)

    def _object(self, value: object, name: str, shape: Shape, depth: int) -> Envelope:
        try:
            entries = shape.dump(value)
        except Exception as error:
            kind = type(value).__qualname__
            raise Refused(kind, f"its state cannot be read: {error}") from error
        body = entries["v"]
        if type(body) is dict:
            entries["v"] = self._dict(value, body, depth)
        return {TAG: "object", "n": name, **entries}

    def _leaf(self, form: Envelope) -> Envelope:
        text = form["v"]
        if type(text) is str:
            self._spend(len(text))
        return form
