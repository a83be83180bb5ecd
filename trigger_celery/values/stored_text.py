"""Stored texts put together, compared and hashed without being decoded: they stay as written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from trigger_celery.vocabulary.identity import new_token

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
