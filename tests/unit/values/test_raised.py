"""Exceptions are made again from text: of the same class, without their constructor."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from trigger_celery.errors import ChildRunFailed, DecodeError, NonRetryableError, RetryAfter
from trigger_celery.values import raised
from trigger_celery.values.codec import JsonCodec
from trigger_celery.vocabulary.identity import new_id

CODEC = JsonCodec()


class Picky(Exception):
    """Its constructor cannot be called with its arguments, and has an effect."""

    made = 0

    def __init__(self, code: int, *, hint: str) -> None:
        type(self).made += 1
        super().__init__(code)
        self.hint = hint
        self.socket = object()


class Outer:
    class Inner(LookupError):
        pass


class WithRequest(OSError):
    """As those of requests: a constructor of its own above OSError."""

    def __init__(self, *args: Any, request: object) -> None:
        self.request = request
        super().__init__(*args)


class Broken(Exception):
    """Its text needs what cannot be stored."""

    def __init__(self) -> None:
        super().__init__()
        self.client = object()

    def __str__(self) -> str:
        return f"broken: {self.client!r}"


def dumped(error: Exception) -> str:
    return raised.dump(error, CODEC.encode, CODEC.decode)


def again(error: Exception) -> Exception:
    return raised.load(dumped(error), CODEC.decode)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("away"),
        KeyError(("a", 1)),
        Outer.Inner("x"),
        FileNotFoundError(errno.ENOENT, "no such file", "/tmp/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        NonRetryableError("no"),
        ChildRunFailed(new_id(), "ValueError", "no"),
        ExceptionGroup("two", [ValueError(1), ExceptionGroup("one", [KeyError("k")])]),
        ValidationError("too short"),
        ValidationError([ValidationError("a", code="c"), "b"]),
        ValidationError({"name": ["too short"]}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_it_was(error: Exception) -> None:
    made = again(error)
    assert type(made) is type(error)
    assert (str(made), repr(made)) == (str(error), repr(error))


def test_attributes_and_notes_and_the_cause_come_back() -> None:
    error = RetryAfter.__new__(RetryAfter)
    cause = ValueError("first")
    cause.__cause__ = Picky(1, hint="h")
    error.__init__(__import__("datetime").timedelta(5), "later")  # type: ignore[misc]
    error.add_note("a note")
    error.__cause__ = cause
    made: Any = again(error)
    assert (made.delay, made.__notes__) == (error.delay, ["a note"])
    assert repr(made.__cause__) == "ValueError('first')"
    assert made.__cause__.__cause__.hint == "h"


def test_the_constructor_is_not_called_and_what_cannot_be_stored_is_left_out() -> None:
    error = Picky(7, hint="try later")
    before = Picky.made
    made: Any = again(error)
    assert (made.args, made.hint, hasattr(made, "socket")) == ((7,), "try later", False)
    assert Picky.made == before


def test_an_argument_that_cannot_be_stored_is_its_text() -> None:
    error = WithRequest(Broken(), request=object())
    made = again(error)
    assert type(made) is WithRequest
    assert made.args == (str(error.args[0]),)


def test_an_operating_systems_error_keeps_its_number() -> None:
    made: Any = again(WithRequest(errno.ECONNRESET, "reset", request=object()))
    assert (made.errno, made.strerror) == (errno.ECONNRESET, "reset")


def test_an_exception_without_a_name_or_text_is_not_rebuilt() -> None:
    class Local(Exception):
        pass

    assert dumped(Local("x")) == ""
    assert dumped(Broken()) == ""


def test_a_class_that_is_not_imported_is_refused_and_not_imported() -> None:
    text = dumped(Outer.Inner("x"))
    for module, name in (("not_imported_anywhere", "E"), (__name__, "Outer"), ("os", "system")):
        other = text.replace(__name__, module).replace("Outer.Inner", name)
        with pytest.raises(DecodeError):
            raised.load(other, CODEC.decode)


def test_exceptions_that_hold_each_other_end() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.other, two.other = two, one  # type: ignore[attr-defined]
    made: Any = again(one)
    assert made.other.other is made
    endless = ValueError("deep")
    for _ in range(100):
        outer = ValueError("deeper")
        outer.inner = endless  # type: ignore[attr-defined]
        endless = outer
    assert str(again(endless)) == "deeper"
