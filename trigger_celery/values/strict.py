"""What JSON text must not have, and the JSON of strangers: bounded before it is parsed."""

from __future__ import annotations

import json
from typing import NoReturn

from trigger_celery.errors import DecodeError
from trigger_celery.limits import DEPTH, ELEMENTS, KEYS, TEXT

_BRACKETS = b"[]{}"
_REST = bytes(set(range(256)) - set(_BRACKETS))
_SPACE = b" \t\n\r"
_ALIKE = bytes.maketrans(b"{}", b"[]")


def nests_deeper(text: str, limit: int) -> bool:
    """Whether there are more than ``limit`` containers within containers in this text.

    Text that is no JSON may get either answer; the parser finds that out.
    """
    return _has_openings(text, limit) and _nests_deeper(_outside(text), limit)


def check_size(text: str) -> None:
    """Raise :exc:`DecodeError` for JSON text over one of the limits of what may be parsed."""
    # No value is shorter than a character and what parts it from the next one.
    many = len(text) >= 2 * ELEMENTS
    if _has_openings(text, DEPTH):
        outside = _outside(text)
        if _nests_deeper(outside, DEPTH):
            raise DecodeError(f"nested more than {DEPTH} levels deep")
        many = many and _elements(outside) > ELEMENTS
    else:  # then commas in strings, too, only make it more
        many = many and text.count(",") + DEPTH >= ELEMENTS and _elements(_outside(text)) > ELEMENTS
    if many:
        raise DecodeError(f"it has more than {ELEMENTS:,} values")
    if len(text) > TEXT and max(map(len, _quoted(text)[1::2]), default=0) > TEXT:
        raise DecodeError(f"a text in it has more than {TEXT:,} bytes")


def elements(text: str) -> int:
    """Return how many values JSON text has, containers and what is in them."""
    return _elements(_outside(text))


def _has_openings(text: str, limit: int) -> bool:
    """Whether more than ``limit`` brackets open, those in strings counted: seldom in flat JSON."""
    # A search goes many times faster than a count, and ends at the first that are too many.
    for bracket in "[{":
        at = text.find(bracket)
        while at >= 0:
            limit -= 1
            if limit < 0:
                return True
            at = text.find(bracket, at + 1)
    return False


def _outside(text: str) -> bytes:
    return b"".join(_quoted(text)[::2])


def _quoted(text: str) -> list[bytes]:
    """Return what is outside of strings and, at the odd places, what is inside.

    What has no end is inside to the end. Nothing but searches at the speed of C, each of which
    looks at a character once, whatever the characters are.
    """
    plain = text.encode(errors="surrogatepass")
    if b"\\" in plain:
        plain = plain.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return plain.split(b'"')


def _nests_deeper(outside: bytes, limit: int) -> bool:
    brackets = outside.translate(_ALIKE, _REST)
    for _ in range(limit):
        # Each round takes away the innermost level.
        fewer = brackets.replace(b"[]", b"")
        if not fewer:
            return False
        if len(fewer) == len(brackets):  # what is left has no other half
            return True
        brackets = fewer
    return True


def _elements(outside: bytes) -> int:
    plain = outside.translate(_ALIKE, _SPACE)
    # Each comma parts two values; a container that is not empty has one more than its commas.
    return plain.count(b",") + plain.count(b"[") - plain.count(b"[]") + 1


def finite(text: str) -> float:
    """Return the number. Raises :exc:`DecodeError` if it is too large for one."""
    value = float(text)
    if value - value != 0.0:
        raise DecodeError(f"the number {text[:40]} is out of range")
    return value


def no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's parser would take."""
    raise DecodeError(f"{name} is not JSON")


def parse(body: bytes) -> object:
    """Return the value of a request's body: None, bool, int, float, str, list or dict.

    Raises :exc:`DecodeError` for what is not UTF-8, not JSON, over one of the limits of
    :mod:`trigger_celery.limits`, has one key twice, or a number that no database takes.
    """
    try:
        text = body.decode()
        check_size(text)
        return _DECODER.decode(text)
    except DecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DecodeError("an object has the same key twice")
    if len(value) > KEYS:
        raise DecodeError(f"an object has more than {KEYS:,} keys")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=finite, parse_constant=no_constant
)
