"""Exceptions become records: complete, bounded, and free of the objects they held."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from trigger_celery.errors import DecodeError
from trigger_celery.values import Failure, JsonCodec, describe
from trigger_celery.values.failures import from_text, to_text


def raised(make: Callable[[], Exception]) -> Exception:
    try:
        raise make()
    except Exception as error:
        return error


class Custom(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class LikeText(str):
    __slots__ = ()


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


def test_a_failure_keeps_class_message_traceback_and_notes() -> None:
    error = raised(lambda: ValueError("bad value"))
    error.add_note("order o-1")
    failure = describe(error)
    assert (failure.kind, failure.module, failure.message) == (
        "ValueError",
        "builtins",
        "bad value",
    )
    assert failure.notes == ("order o-1",)
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert failure.traceback.endswith("ValueError: bad value\norder o-1\n")
    assert failure.cause is None


def test_a_failure_keeps_the_source_around_the_authors_innermost_line() -> None:
    failure = describe(raised(lambda: ValueError("x")))
    assert Path(failure.file).name == "test_failures.py"
    assert failure.function == "raised"
    assert dict(failure.source)[failure.line] == "        raise make()"
    assert [number for number, _ in failure.source] == list(
        range(failure.line - 5, failure.line + 6)
    )


def test_the_authors_line_is_kept_rather_than_the_librarys_below_it() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        failure = describe(error)
    assert failure.function == "test_the_authors_line_is_kept_rather_than_the_librarys_below_it"
    assert "raw_decode" in failure.traceback


def test_without_frames_of_the_author_the_innermost_of_all_is_kept() -> None:
    failure = describe(raised(lambda: ValueError("x")), own_frames=lambda name: False)
    assert failure.function == "raised"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    failure = describe(ValueError("x"))
    assert (failure.file, failure.line, failure.source) == ("", 0, ())
    assert failure.traceback == "ValueError: x\n"


def test_an_exception_without_a_text_is_named_by_its_class() -> None:
    failure = describe(raised(Custom))
    assert failure.message == "<unprintable Custom>"


def test_a_message_of_a_subclass_of_str_becomes_plain() -> None:
    assert type(describe(ValueError(LikeText("x"))).message) is str


def test_broken_notes_are_left_out() -> None:
    error = ValueError("x")
    error.__notes__ = 5  # type: ignore[assignment]
    assert describe(error).notes == ()


def test_the_cause_is_kept_and_a_suppressed_context_is_not() -> None:
    error, cause = ValueError("x"), KeyError("k")
    error.__cause__ = cause
    kept = describe(error).cause
    assert kept is not None
    assert kept.kind == "KeyError"
    error.__cause__, error.__context__ = None, cause
    error.__suppress_context__ = False
    assert describe(error).cause is not None
    error.__suppress_context__ = True
    assert describe(error).cause is None


def test_a_cause_that_is_false_is_still_the_cause() -> None:
    error = ValueError("x")
    error.__cause__, error.__context__ = Falsy(), KeyError("k")
    kept = describe(error).cause
    assert kept is not None
    assert kept.kind == "Falsy"


def test_a_long_or_circular_chain_is_cut() -> None:
    first = error = ValueError("0")
    for number in range(1000):
        error.__cause__ = ValueError(str(number))
        error = error.__cause__
    assert chain_length(describe(first)) == 10
    error.__cause__ = first
    assert chain_length(describe(first)) == 10
    loop = ValueError("a")
    loop.__cause__ = other = ValueError("b")
    other.__cause__ = loop
    assert chain_length(describe(loop)) == 2


def chain_length(failure: Failure | None) -> int:
    return 0 if failure is None else 1 + chain_length(failure.cause)


def test_huge_parts_are_cut_in_the_middle() -> None:
    error = raised(lambda: ValueError("a" * 500_000 + "b" * 500_000))
    error.add_note("n" * 50_000)
    failure = describe(error)
    assert len(failure.message) <= 8 * 1024
    assert failure.message.startswith("a")
    assert failure.message.endswith("b")
    assert "characters cut" in failure.message
    assert len(failure.notes[0]) <= 8 * 1024
    assert len(failure.traceback) <= 32 * 1024


def test_a_deep_recursion_is_bounded() -> None:
    def one(depth: int) -> None:
        two(depth)

    def two(depth: int) -> None:
        one(depth + 1)

    with pytest.raises(RecursionError) as caught:
        one(0)
    failure = describe(caught.value)
    assert len(failure.traceback) <= 32 * 1024
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.rstrip().endswith(failure.message)


def test_members_of_a_group_are_in_the_traceback() -> None:
    group = ExceptionGroup("both", [raised(lambda: ValueError("one")), KeyError("two")])
    text = describe(raised(lambda: group)).traceback
    assert "ExceptionGroup: both (2 sub-exceptions)\n" in text
    assert "  | ValueError: one\n" in text
    assert "  | KeyError: 'two'\n" in text


def test_a_failure_holds_nothing_of_what_the_frames_held() -> None:
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)

    def work(thing: Held) -> Failure:
        try:
            raise ValueError(thing.__class__.__name__)
        except ValueError as error:
            return describe(error)

    failure = work(held)
    del held
    gc.collect()
    assert gone() is None
    assert failure.kind == "ValueError"


def test_a_failure_round_trips_as_text_and_through_the_codec() -> None:
    error = raised(lambda: ValueError("nul \x00 lone \ud800"))
    error.__cause__ = raised(lambda: KeyError("k"))
    error.add_note("n")
    failure = describe(error)
    assert from_text(to_text(failure)) == failure
    codec = JsonCodec()
    assert codec.decode(codec.encode([failure])) == [failure]


def test_an_exception_as_a_value_comes_back_as_its_record() -> None:
    error = raised(lambda: ValueError("x"))
    codec = JsonCodec()
    assert codec.decode(codec.encode({"error": error})) == {"error": describe(error)}


def test_a_failure_is_frozen() -> None:
    failure = describe(ValueError("x"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure.message = "y"  # type: ignore[misc]


GOOD = json.loads(to_text(describe(ValueError("x"))))
DEEP = {**GOOD, "cause": None}
for _ in range(10):
    DEEP = {**GOOD, "cause": DEEP}


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        [],
        {},
        {**GOOD, "more": 1},
        {**GOOD, "kind": 5},
        {**GOOD, "line": "1"},
        {**GOOD, "line": True},
        {**GOOD, "notes": [1]},
        {**GOOD, "notes": None},
        {**GOOD, "source": [[1]]},
        {**GOOD, "source": [["1", "x"]]},
        {**GOOD, "source": [[1, 2]]},
        {**GOOD, "cause": 5},
        {name: value for name, value in GOOD.items() if name != "line"},
        DEEP,
    ],
)
def test_data_that_is_no_failure_is_a_decode_error(data: object) -> None:
    with pytest.raises(DecodeError, match="not a stored failure"):
        from_text(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000])
def test_text_that_is_no_failure_is_a_decode_error(text: str) -> None:
    with pytest.raises(DecodeError, match="not a stored failure"):
        from_text(text)
