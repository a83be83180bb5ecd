"""The operators of event filters: what each takes, and when a value passes it.

Comparison is typed: a value of a type that an operator is not for never passes. Numbers are
compared by value (``1 < 1.5 < Decimal("2")``; ``True`` is no number), aware times with aware
times. Equality is that of stored text: ``1``, ``1.0``, ``"1"`` and ``True`` all differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from trigger_celery.errors import EncodeError, InvalidFilter
from trigger_celery.ports import Codec

ARRAYS = (list, tuple, set, frozenset)
COLLECTIONS = (*ARRAYS, dict, bytes)
MISSING: Any = object()
"""What a path that leads nowhere leads to."""


@dataclass(frozen=True, slots=True)
class Operator:
    """``take`` checks an operand and returns what is stored of it.

    ``test`` is given that, decoded, with the value that the path leads to.
    """

    take: Callable[[str, object, Codec], object]
    test: Callable[[Any, Any, Codec], bool]


def is_scalar(value: object) -> bool:
    """Whether a value can be compared for equality."""
    return not isinstance(value, COLLECTIONS)


def scalar_text(path: str, value: object, codec: Codec) -> str:
    """Return the stored text of a scalar, which is what equality compares."""
    if not is_scalar(value):
        raise InvalidFilter(
            f"filter path {path!r}: expected a scalar (text, number, time, None ...), "
            f"got: {type(value).__name__}"
        )
    try:
        return codec.encode(value)
    except EncodeError as error:
        raise InvalidFilter(f"filter path {path!r}: {error}") from error


def scalar_texts(path: str, values: object, codec: Codec) -> list[str]:
    """Return the stored texts of a list of scalars that is not empty."""
    if not isinstance(values, (list, tuple)) or not values:
        raise InvalidFilter(
            f"filter path {path!r}: expected a list of scalars that is not empty, got: {values!r}"
        )
    return [scalar_text(path, value, codec) for value in values]


def equals_one(texts: Sequence[str], value: object, codec: Codec) -> bool:
    """Whether a value that is there is equal to one of these, to the type."""
    return value is not MISSING and is_scalar(value) and codec.encode(value) in texts


def _one_or_more(path: str, operand: object, codec: Codec) -> list[str]:
    if isinstance(operand, (list, tuple)):
        return scalar_texts(path, operand, codec)
    return [scalar_text(path, operand, codec)]


def _one(path: str, operand: object, codec: Codec) -> list[str]:
    return [scalar_text(path, operand, codec)]


def _text(path: str, operand: object, codec: Codec) -> str:
    if not isinstance(operand, str):
        raise InvalidFilter(f"filter path {path!r}: expected text, got: {operand!r}")
    return operand


def _flag(path: str, operand: object, codec: Codec) -> bool:
    if not isinstance(operand, bool):
        raise InvalidFilter(f"filter path {path!r}: expected True or False, got: {operand!r}")
    return operand


def _bound(path: str, operand: object, codec: Codec) -> str:
    if _kind(operand) is None:
        raise InvalidFilter(
            f"filter path {path!r}: expected a number or an aware datetime, got: {operand!r}"
        )
    return scalar_text(path, operand, codec)


def _bounds(path: str, operand: object, codec: Codec) -> list[str]:
    if not isinstance(operand, (list, tuple)) or len(operand) != 2:
        raise InvalidFilter(
            f"filter path {path!r}: expected the lowest and the highest value, got: {operand!r}"
        )
    texts = [_bound(path, each, codec) for each in operand]
    low, high = operand
    if _kind(low) != _kind(high) or low > high:
        raise InvalidFilter(
            f"filter path {path!r}: expected two values of one kind, the lower one first, "
            f"got: {operand!r}"
        )
    return texts


def _kind(value: object) -> str | None:
    """Return how a value is ordered, None if it is not."""
    if isinstance(value, datetime):
        return None if value.utcoffset() is None else "time"
    if isinstance(value, Decimal):
        return None if value.is_nan() else "number"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    return "number"


def _compare(test: Callable[[Any, Any], bool]) -> Operator:
    def passes(operand: str, value: Any, codec: Codec) -> bool:
        kind = _kind(value)
        bound = codec.decode(operand)
        return kind is not None and kind == _kind(bound) and test(value, bound)

    return Operator(_bound, passes)


def _of_text(test: Callable[[str, str], bool]) -> Operator:
    def passes(operand: str, value: object, codec: Codec) -> bool:
        return isinstance(value, str) and test(value, operand)

    return Operator(_text, passes)


def _between(operand: Sequence[str], value: Any, codec: Codec) -> bool:
    low, high = (codec.decode(text) for text in operand)
    kind: Any = _kind(value)
    return kind is not None and kind == _kind(low) and low <= value <= high


def _anything_but(operand: Sequence[str], value: object, codec: Codec) -> bool:
    return value is not MISSING and not equals_one(operand, value, codec)


def _includes(operand: Sequence[str], value: object, codec: Codec) -> bool:
    return isinstance(value, ARRAYS) and any(equals_one(operand, item, codec) for item in value)


def _exists(operand: bool, value: object, codec: Codec) -> bool:
    return (value is not MISSING) is operand


def _is_null(operand: bool, value: object, codec: Codec) -> bool:
    return value is not MISSING and (value is None) is operand


OPERATORS: dict[str, Operator] = {
    "$startsWith": _of_text(lambda value, start: value.startswith(start)),
    "$endsWith": _of_text(lambda value, end: value.endswith(end)),
    "$ignoreCaseEquals": _of_text(lambda value, other: value.casefold() == other.casefold()),
    "$anythingBut": Operator(_one_or_more, _anything_but),
    "$in": Operator(scalar_texts, equals_one),
    "$includes": Operator(_one, _includes),
    "$exists": Operator(_flag, _exists),
    "$isNull": Operator(_flag, _is_null),
    "$gt": _compare(lambda value, bound: value > bound),
    "$gte": _compare(lambda value, bound: value >= bound),
    "$lt": _compare(lambda value, bound: value < bound),
    "$lte": _compare(lambda value, bound: value <= bound),
    "$between": Operator(_bounds, _between),
}
"""All operators but ``$not``, whose operand is a condition itself."""
