"""Event filters: what they may say, how they are indexed, and the evaluator that decides.

A filter is a mapping of key paths to scalars, ``{"documentId": "d-1", "customer.id": 7}``;
nested mappings mean the same as dotted paths. Every path must be present in the payload
and hold an equal value of the same type: ``"1"``, ``1``, ``1.0`` and ``True`` all differ.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from trigger_celery.errors import EncodeError, InvalidFilter
from trigger_celery.ports import Codec

_PATH = re.compile(r"[A-Za-z0-9_\-]{1,64}(\.[A-Za-z0-9_\-]{1,64}){0,8}")
_MISSING = object()
_COLLECTIONS = (list, tuple, set, frozenset, dict, bytes)


class Filter:
    """A checked filter: ``paths`` and ``match_hash`` for the index, :meth:`matches` to decide.

    Raises :exc:`InvalidFilter` naming the path of what is outside the grammar.
    """

    def __init__(self, name: str, spec: Mapping[str, object] | None, codec: Codec) -> None:
        if spec is not None and not isinstance(spec, Mapping):
            raise InvalidFilter(f"expected filter to be a mapping of paths, got: {spec!r}")
        pairs = sorted(_flatten(spec or {}, ""))
        names = [path for path, _ in pairs]
        if len(set(names)) != len(names):
            raise InvalidFilter("the filter names one path twice, nested and dotted")
        self._wanted = {path: _canonical(path, value, codec) for path, value in pairs}
        self.paths = json.dumps(names)
        self.match_hash = hash_values(name, self.paths, list(self._wanted.values()))
        self.text = json.dumps(self._wanted)


def matches(filter_text: str, payload: object, codec: Codec) -> bool:
    """Whether a payload passes a stored filter."""
    wanted: dict[str, str] = json.loads(filter_text)
    return all(value_at(path, payload, codec) == value for path, value in wanted.items())


def payload_hash(name: str, paths: str, payload: object, codec: Codec) -> int | None:
    """Return the hash that a filter with these paths would need, None if a path is missing."""
    values = [value_at(path, payload, codec) for path in json.loads(paths)]
    if None in values:
        return None
    return hash_values(name, paths, [value for value in values if value is not None])


def value_at(path: str, payload: object, codec: Codec) -> str | None:
    """Return the canonical text of the scalar at a path of the payload, or None."""
    for part in path.split("."):
        if not isinstance(payload, Mapping):
            return None
        payload = payload.get(part, _MISSING)
    if payload is _MISSING or isinstance(payload, _COLLECTIONS):
        return None
    return codec.encode(payload)


def hash_values(name: str, paths: str, values: Sequence[str]) -> int:
    """Return the signed 64-bit number that a wait's index and an event's probe share."""
    text = json.dumps([name, paths, *values])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)


def _flatten(spec: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in spec.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or not _PATH.fullmatch(path):
            raise InvalidFilter(
                f"filter path {path!r}: expected letters, digits, '_' and '-' in up to nine "
                "parts joined by dots"
            )
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _canonical(path: str, value: object, codec: Codec) -> str:
    if isinstance(value, _COLLECTIONS):
        raise InvalidFilter(
            f"filter path {path!r}: expected a scalar (text, number, time, None ...), "
            f"got: {type(value).__name__}"
        )
    try:
        return codec.encode(value)
    except EncodeError as error:
        raise InvalidFilter(f"filter path {path!r}: {error}") from error
