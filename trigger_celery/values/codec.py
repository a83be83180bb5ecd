"""The one way of values into stored text and back: plain JSON, exact to the type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from trigger_celery.errors import DecodeError, EncodeError, PayloadTooLarge
from trigger_celery.values.refusal import Refused, refuse
from trigger_celery.values.registry import Registry, registry
from trigger_celery.values.strict import finite, nests_deeper, no_constant
from trigger_celery.values.types import LOADERS, TAG
from trigger_celery.values.writer import NoRoom, Writer, dumps
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
