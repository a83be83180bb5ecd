"""What a step raised, as stored text, and made again from it: never unpickled, never imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from trigger_celery.errors import CodecError, DecodeError

Encode: TypeAlias = Callable[[object], str]
Decode: TypeAlias = Callable[[str], object]
Form: TypeAlias = "list[Any]"

_DEEPEST = 8
"""How many exceptions and containers may lie in each other; what is deeper is left out."""


class _LeftOut(Exception):
    """A value that cannot be stored."""


def dump(error: Exception, encode: Encode, decode: Decode) -> str:
    """Return text from which :func:`load` makes an equal exception; "" if there is none.

    Its class has to be one that this process can name. Arguments that the codec refuses are
    stored as their text, attributes that it refuses are left out.
    """
    try:
        text = encode(_exception(error, encode, ()))
        again = load(text, decode)
        str(again)
    except Exception:  # whatever an author's class may do
        return ""
    return text if type(again) is type(error) else ""


def load(text: str, decode: Decode) -> Exception:
    """Return the exception that :func:`dump` stored; its ``__init__`` is not called.

    Raises :exc:`DecodeError` if this process has not imported its class, or cannot make it.
    """
    try:
        return _made(decode(text), ())
    except CodecError:
        raise
    except Exception as error:
        raise DecodeError(f"an exception cannot be made again: {error!r}") from error


def _exception(error: BaseException, encode: Encode, above: tuple[BaseException, ...]) -> Form:
    if len(above) >= _DEEPEST or not isinstance(error, Exception):
        raise _LeftOut
    kind = type(error)
    if _class(kind.__module__, kind.__qualname__) is not kind:
        raise _LeftOut
    arguments = [_argument(each, encode, above) for each in _arguments(error)]
    above = (*above, error)
    attributes = {}
    for name, value in {**vars(error), "__cause__": error.__cause__}.items():
        try:
            attributes[name] = _value(value, encode, above)
        except _LeftOut:
            continue
    return [kind.__module__, kind.__qualname__, arguments, attributes]


def _arguments(error: Exception) -> Sequence[object]:
    if isinstance(error, OSError):  # its args leave out the file's name
        return OSError.__reduce__(error)[1]
    if isinstance(error, BaseExceptionGroup):
        return [error.message, list(error.exceptions)]
    return error.args


def _argument(value: object, encode: Encode, above: tuple[BaseException, ...]) -> Form:
    try:
        return _value(value, encode, above)
    except _LeftOut:
        return ["value", str(value)]


def _value(value: object, encode: Encode, above: tuple[BaseException, ...], depth: int = 0) -> Form:
    if isinstance(value, BaseException):
        for index, each in enumerate(above):
            if each is value:
                return ["above", index]
        form = _exception(value, encode, above)
        try:
            str(_made(form, above))
        except Exception:  # its text needs what is left out
            raise _LeftOut from None
        return ["exception", form]
    if depth >= _DEEPEST:
        raise _LeftOut
    kind = type(value)
    if kind is list or kind is tuple:
        items: Any = value
        return [kind.__name__, [_value(each, encode, above, depth + 1) for each in items]]
    if kind is dict:
        entries: Any = value
        if all(type(key) is str for key in entries):
            return [
                "dict",
                [[key, _value(each, encode, above, depth + 1)] for key, each in entries.items()],
            ]
    try:
        encode(value)
    except Exception:
        raise _LeftOut from None
    return ["value", value]


def _class(module: str, name: str) -> type[Exception] | None:
    """Return a class by its name, if this process has imported it; nothing is looked up lazily."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    return None


def _made(form: Any, above: tuple[BaseException, ...]) -> Exception:
    module, name, arguments, attributes = form
    kind = _class(module, name)
    if kind is None:
        raise DecodeError(f"this process has not imported the class {module}.{name}")
    given = [_loaded(each, above) for each in arguments]
    base: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    error: Exception = base.__new__(kind, *given)
    base.__init__(error, *given)
    for attribute, value in attributes.items():
        loaded: Any = _loaded(value, (*above, error))
        if attribute == "__cause__":
            if loaded is not None:
                error.__cause__ = loaded
        else:
            vars(error)[attribute] = loaded
    return error


def _loaded(form: Any, above: tuple[BaseException, ...]) -> object:
    kind, value = form
    if kind == "value":
        return value
    if kind == "above":
        return above[value]
    if kind == "exception":
        return _made(value, above)
    if kind == "dict":
        return {key: _loaded(each, above) for key, each in value}
    items = [_loaded(each, above) for each in value]
    return tuple(items) if kind == "tuple" else items
