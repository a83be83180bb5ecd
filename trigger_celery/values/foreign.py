"""JSON of strangers: bounded before it is parsed, and plain values only."""

from __future__ import annotations

import json

from trigger_celery.errors import DecodeError
from trigger_celery.values.strict import finite, nests_deeper, no_constant

DEEPEST = 60


def parse(body: bytes) -> object:
    """Return the value of a request's body: None, bool, int, float, str, list or dict.

    Raises :exc:`DecodeError` for what is not UTF-8, not JSON, nested more than 60 levels
    deep, has one key twice, or a number that no database takes.
    """
    try:
        text = body.decode()
        if nests_deeper(text, DEEPEST):
            raise DecodeError(f"nested more than {DEEPEST} levels deep")
        return json.loads(
            text, object_pairs_hook=_object, parse_float=finite, parse_constant=no_constant
        )
    except DecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DecodeError("an object has the same key twice")
    return value
