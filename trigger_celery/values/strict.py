"""What JSON text must not have, and the JSON of strangers: bounded before it is parsed."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from trigger_celery.errors import DecodeError

_NOT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')
_ALIKE = str.maketrans("{}", "[]")


def nests_deeper(text: str, limit: int) -> bool:
    """Whether there are more than ``limit`` containers within containers in this text.

    Text that is no JSON may get either answer; the parser finds that out.
    """
    # With fewer brackets than that there is nothing to measure, which is the common case.
    if text.count("[") + text.count("{") <= limit:
        return False
    brackets = _NOT_BRACKETS.sub("", text).translate(_ALIKE)
    for _ in range(limit):
        # Each round takes away the innermost level, at the speed of C.
        brackets = brackets.replace("[]", "")
        if not brackets:
            return False
    return True


def finite(text: str) -> float:
    """Return the number. Raises :exc:`DecodeError` if it is too large for one."""
    value = float(text)
    if value - value != 0.0:
        raise DecodeError(f"the number {text[:40]} is out of range")
    return value


def no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's parser would take."""
    raise DecodeError(f"{name} is not JSON")


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
