"""Event filters: what they may say, how they are indexed, and the evaluator that decides.

A filter is a mapping of key paths to conditions, all of which have to hold. A condition is

* a scalar: the value is there, and is equal and of the same type;
* a list of scalars: it is equal to one of them;
* a mapping of operators, ``{"$gte": 10, "$lt": 20}``, or a list of such: all of them hold;
* a mapping of key paths: a filter for the mapping that is there, or for one element of the
  list that is there.

A dotted path, ``customer.id``, leads through mappings only. Equality is looked up in an
index; whatever else a filter says is decided by :func:`matches`.

Operators compare typed: a value of a type that an operator is not for never passes. Numbers are
compared by value (``1 < 1.5 < Decimal("2")``; ``True`` is no number), aware times with aware
times. Equality is that of stored text: ``1``, ``1.0``, ``"1"`` and ``True`` all differ.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, TypeAlias

from trigger_celery.errors import EncodeError, InvalidFilter
from trigger_celery.limits import FILTER_PATHS, FILTER_TEXT
from trigger_celery.ports import Codec
from trigger_celery.vocabulary.checks import valid_source

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


_PATH = re.compile(r"[A-Za-z0-9_\-]{1,64}(\.[A-Za-z0-9_\-]{1,64}){0,8}")
_DEEPEST = 9
"""So many conditions may lie within one another."""
SOURCE = "@source"
"""Where the text of a filter says which source it is for; no key path of a payload is called so."""
_INSIDE = "/"
"""Between two paths of an index: the second one begins in a mapping or in a list's elements."""

Node: TypeAlias = Any
"""A stored condition: text for equality, else an object of operators or of key paths."""


class Filter:
    """A checked filter: ``paths`` and ``match_hash`` for the index, ``text`` for the evaluator.

    ``source`` is the only one whose events pass, None for any. Raises :exc:`InvalidFilter`
    naming the path of what is outside the grammar.
    """

    def __init__(
        self,
        name: str,
        spec: Mapping[str, object] | None,
        codec: Codec,
        *,
        source: str | None = None,
    ) -> None:
        if source is not None:
            valid_source(source, "the source of events")
        if spec is not None and not isinstance(spec, Mapping):
            raise InvalidFilter(f"expected filter to be a mapping of paths, got: {spec!r}")
        wanted = _conditions(spec or {}, "", codec, 1)
        named = list(_named(wanted, ""))
        if len(set(named)) != len(named):
            raise InvalidFilter("the filter names one path twice, nested and dotted")
        indexed = _indexed(wanted)
        self.paths = json.dumps(list(indexed))
        self.match_hash = hash_values(name, self.paths, list(indexed.values()))
        self.text = json.dumps(wanted if source is None else {SOURCE: source, **wanted})
        if len(named) > FILTER_PATHS:
            raise InvalidFilter(
                f"expected a filter to have at most {FILTER_PATHS} paths, got: {len(named)}"
            )
        if len(self.text) > FILTER_TEXT:
            raise InvalidFilter(
                f"expected a filter to be at most {FILTER_TEXT:,} characters when stored, "
                f"got: {len(self.text):,}"
            )


def matches(filter_text: str, source: str, payload: object, codec: Codec) -> bool:
    """Whether an event from ``source`` with this payload passes a stored filter."""
    wanted: dict[str, Node] = json.loads(filter_text)
    return wanted.pop(SOURCE, source) == source and (not wanted or _holds(wanted, payload, codec))


def payload_hashes(name: str, paths: str, payload: object, codec: Codec) -> set[int]:
    """Return all hashes of filters with these paths that the payload may pass."""
    combined: list[list[str]] = [[]]
    for path in _parts(paths):
        found = set(_texts_at(path, payload, codec))
        if not found:
            return set()
        # Of all but one path at most one: see _indexed().
        combined = [[*some, text] for some in combined for text in found]
    begun = hashlib.sha256(json.dumps([name, paths])[:-1].encode())
    return {_ended(begun, some) for some in combined}


@lru_cache(maxsize=10_000)
def _parts(paths: str) -> tuple[list[str], ...]:
    texts: list[str] = json.loads(paths)
    return tuple(path.split(_INSIDE) for path in texts)


def hash_values(name: str, paths: str, values: Sequence[str]) -> int:
    """Return the signed 64-bit number that a wait's index and an event's probe share."""
    return _ended(hashlib.sha256(json.dumps([name, paths])[:-1].encode()), values)


def _ended(begun: Any, values: Sequence[str]) -> int:
    """Return the number of a list of which the digest of the beginning is known: many share it."""
    digest = begun.copy()
    for each in values:
        digest.update(f", {encode_basestring_ascii(each)}".encode())
    digest.update(b"]")
    return int.from_bytes(digest.digest()[:8], signed=True)


def _conditions(
    spec: Mapping[Any, object], prefix: str, codec: Codec, depth: int
) -> dict[str, Node]:
    if depth > _DEEPEST:
        raise InvalidFilter(f"filter path {prefix[:80]!r}: more than {_DEEPEST} conditions deep")
    wanted = {}
    for key, value in spec.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or not _PATH.fullmatch(key):
            raise InvalidFilter(
                f"filter path {path!r}: expected letters, digits, '_' and '-' in up to nine "
                "parts joined by dots"
            )
        wanted[key] = _condition(path, value, codec, depth)
    return dict(sorted(wanted.items()))


def _condition(path: str, value: object, codec: Codec, depth: int) -> Node:
    """Return what is stored of a condition."""
    if isinstance(value, (list, tuple)):
        return _listed(path, value, codec, depth)
    if not isinstance(value, Mapping):
        return scalar_text(path, value, codec)
    if not value:
        raise InvalidFilter(f"filter path {path!r}: expected a condition, got an empty mapping")
    operators = [key for key in value if isinstance(key, str) and key.startswith("$")]
    if not operators:
        return _conditions(value, f"{path}.", codec, depth + 1)
    if len(operators) < len(value):
        raise InvalidFilter(f"filter path {path!r}: operators and keys are mixed: {list(value)!r}")
    return {key: _operand(f"{path}.{key}", key, value[key], codec, depth) for key in operators}


def _listed(path: str, values: Sequence[object], codec: Codec, depth: int) -> Node:
    mappings = [value for value in values if isinstance(value, Mapping)]
    if not mappings:
        return {"$in": scalar_texts(path, values, codec)}
    every = [_condition(path, value, codec, depth + 1) for value in mappings]
    if len(mappings) < len(values) or not all(map(_is_test, every)):
        raise InvalidFilter(
            f"filter path {path!r}: expected a list of scalars, or a list of mappings of "
            f"operators, got: {values!r}"
        )
    return {"$all": every}


def _operand(path: str, name: str, value: object, codec: Codec, depth: int) -> Node:
    if depth >= _DEEPEST:
        raise InvalidFilter(f"filter path {path[:80]!r}: more than {_DEEPEST} conditions deep")
    if name == "$not":
        inner = _condition(path, value, codec, depth + 1)
        if not isinstance(inner, str) and not _is_test(inner):
            raise InvalidFilter(
                f"filter path {path!r}: expected a scalar, a list or operators, got: {value!r}"
            )
        return inner
    operator = OPERATORS.get(name)
    if operator is None:
        known = [*OPERATORS, "$not"]
        close = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
        raise InvalidFilter(f"filter path {path!r}: no operator is called {name!r}; {hint}")
    return operator.take(path, value, codec)


def _is_test(node: Node) -> bool:
    return isinstance(node, dict) and next(iter(node)).startswith("$")


def _indexed(wanted: Mapping[str, Node]) -> dict[str, str]:
    """Return the equalities that the index decides: those of paths, and one inside a mapping.

    Only one, because what it leads to may be a list: then each element is looked up, and
    with two of them each pair of elements would be.
    """
    plain = {path: node for path, node in wanted.items() if isinstance(node, str)}
    inner = min(_inside(wanted, ""), default=None)
    return dict(sorted([*plain.items(), *([inner] if inner else [])]))


def _named(wanted: Mapping[str, Node], prefix: str) -> Iterator[str]:
    for path, node in wanted.items():
        if isinstance(node, str) or _is_test(node):
            yield f"{prefix}{path}"
        else:
            yield from _named(node, f"{prefix}{path}.")


def _inside(wanted: Mapping[str, Node], prefix: str) -> Iterator[tuple[str, str]]:
    for path, node in wanted.items():
        if isinstance(node, str):
            if prefix:
                yield f"{prefix}{path}", node
        elif not _is_test(node):
            yield from _inside(node, f"{prefix}{path}{_INSIDE}")


def _holds(wanted: Mapping[str, Node], value: object, codec: Codec) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(_passes(node, _at(path, value), codec) for path, node in wanted.items())


def _passes(node: Node, value: object, codec: Codec) -> bool:
    if isinstance(node, str):
        return equals_one([node], value, codec)
    if _is_test(node):
        return all(_tested(name, operand, value, codec) for name, operand in node.items())
    elements = value if isinstance(value, ARRAYS) else [value]
    return any(_holds(node, each, codec) for each in elements)


def _tested(name: str, operand: Any, value: object, codec: Codec) -> bool:
    if name == "$all":
        return all(_passes(node, value, codec) for node in operand)
    if name == "$not":
        return not _passes(operand, value, codec)
    return OPERATORS[name].test(operand, value, codec)


def _at(path: str, value: object) -> object:
    """Return what a path leads to through mappings, or ``MISSING``."""
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return MISSING
        value = value.get(part, MISSING)
    return value


def _texts_at(paths: Sequence[str], payload: object, codec: Codec) -> Iterator[str]:
    """Return the stored texts of the scalars that the paths of an index lead to."""
    first, *others = paths
    value = _at(first, payload)
    if others:
        for each in value if isinstance(value, ARRAYS) else [value]:
            yield from _texts_at(others, each, codec)
    elif value is not MISSING and is_scalar(value):
        yield codec.encode(value)
