"""Exceptions as data: what a person needs to see of one, which are the same, and forced ends."""

from __future__ import annotations

import json
import linecache
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trigger_celery.errors import DecodeError, RunCrashed, RunExpired, RunTimedOut
from trigger_celery.values.fingerprints import fingerprint, is_own_file, short_name
from trigger_celery.vocabulary.lifecycle import ForcedEnd
from trigger_celery.vocabulary.records import Cause, Run
from trigger_celery.vocabulary.states import RunState

MESSAGE_LIMIT = 8 * 1024
TRACEBACK_LIMIT = 32 * 1024
CAUSE_TRACEBACK_LIMIT = 8 * 1024
CHAIN_LIMIT = 10
NOTES_LIMIT = 20
GROUP_LIMIT = 10
SOURCE_MARGIN = 5
SOURCE_LINE_LIMIT = 300
KIND_LENGTH = 255
SHOWN_LENGTH = 500

_NOWHERE = traceback.FrameSummary("", 0, "", lookup_line=False, line="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One exception, as text.

    ``kind`` and ``module`` name its class, ``cause`` is the exception that led to it,
    ``file``, ``line`` and ``function`` say where the author's code was (the innermost frame
    if none is the author's), ``source`` holds the lines around it as ``(number, text)``.
    ``fingerprint`` is equal for failures that a person would call the same.
    """

    kind: str
    message: str
    module: str = ""
    traceback: str = ""
    notes: tuple[str, ...] = ()
    cause: Failure | None = None
    file: str = ""
    line: int = 0
    function: str = ""
    source: tuple[tuple[int, str], ...] = ()
    fingerprint: str = ""


def describe(exc: BaseException, *, own_frames: Callable[[str], bool] | None = None) -> Failure:
    """Put ``exc`` and up to nine exceptions that led to it into text; never raises because of them.

    ``own_frames`` says of a file name whether it is the author's code; by default all
    files are but those of Python, of installed packages and of this library. Messages are
    cut at 8 KiB, tracebacks at 32 KiB (8 KiB for causes), keeping head and tail.
    """
    own = own_frames or is_own_file
    failure: Failure | None = None
    chain = list(_chain(exc))
    for position in reversed(range(len(chain))):
        limit = CAUSE_TRACEBACK_LIMIT if position else TRACEBACK_LIMIT
        failure = _describe_one(chain[position], failure, own, limit)
    assert failure is not None
    return failure


def _describe_one(
    exc: BaseException, cause: Failure | None, own: Callable[[str], bool], limit: int
) -> Failure:
    stack = traceback.extract_tb(exc.__traceback__)
    own_stack = [frame for frame in stack if own(frame.filename)]
    place = next(reversed(own_stack or stack), _NOWHERE)
    kind, module, message = type(exc).__qualname__, type(exc).__module__, _message(exc)
    return Failure(
        kind=kind,
        message=message,
        module=module,
        traceback=shorten("".join(_lines(exc, stack)), limit),
        notes=_notes(exc),
        cause=cause,
        file=place.filename,
        line=place.lineno or 0,
        function=place.name,
        source=_source(place),
        fingerprint=fingerprint(f"{module}.{kind}", message, own_stack),
    )


def shorten(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters: its head and tail, and how much is missing."""
    if len(text) <= limit:
        return text
    mark = f"\n... {len(text) - limit:,} or more characters cut ...\n"
    half = (limit - len(mark)) // 2
    return text[:half] + mark + text[-half:]


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = exc
    while isinstance(current, BaseException) and len(seen) < CHAIN_LIMIT:
        if id(current) in seen:
            return
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__
        implied = None if hidden else current.__context__
        current = implied if current.__cause__ is None else current.__cause__


def _message(exc: BaseException) -> str:
    return shorten(_text(exc), MESSAGE_LIMIT)


def _text(value: object) -> str:
    try:
        # A text may be of a subclass with methods of its own; the record holds plain ones.
        return str.__str__(str(value))
    except Exception:
        return f"<unprintable {type(value).__qualname__}>"


def _notes(exc: BaseException) -> tuple[str, ...]:
    notes = exc.__dict__.get("__notes__", ())
    if not isinstance(notes, (list, tuple)):
        return ()
    return tuple(shorten(_text(note), MESSAGE_LIMIT) for note in notes[:NOTES_LIMIT])


def _lines(exc: BaseException, stack: traceback.StackSummary, depth: int = 0) -> Iterator[str]:
    """The traceback of ``exc`` alone, in Python's layout; its causes have their own."""
    if stack:
        yield "Traceback (most recent call last):\n"
        yield from stack.format()
    kind, module, message = type(exc).__qualname__, type(exc).__module__, _message(exc)
    name = kind if module in ("builtins", "__main__") else f"{module}.{kind}"
    yield f"{name}: {message}\n" if message else f"{name}\n"
    yield from (f"{note}\n" for note in _notes(exc))
    if isinstance(exc, BaseExceptionGroup) and depth < 3:
        for member in exc.exceptions[:GROUP_LIMIT]:
            inner = "".join(_lines(member, traceback.extract_tb(member.__traceback__), depth + 1))
            yield "".join(f"  | {line}" for line in inner.splitlines(keepends=True))


def _source(place: traceback.FrameSummary) -> tuple[tuple[int, str], ...]:
    line = place.lineno or 0
    if not line:
        return ()
    numbers = range(max(1, line - SOURCE_MARGIN), line + SOURCE_MARGIN + 1)
    texts = ((number, linecache.getline(place.filename, number)) for number in numbers)
    return tuple((number, text.rstrip("\n")[:SOURCE_LINE_LIMIT]) for number, text in texts if text)


def to_data(failure: Failure) -> dict[str, object]:
    """``failure`` as plain dicts, lists, texts and numbers."""
    return {
        "kind": failure.kind,
        "message": failure.message,
        "module": failure.module,
        "traceback": failure.traceback,
        "notes": list(failure.notes),
        "cause": None if failure.cause is None else to_data(failure.cause),
        "file": failure.file,
        "line": failure.line,
        "function": failure.function,
        "source": [list(pair) for pair in failure.source],
        "fingerprint": failure.fingerprint,
    }


def from_data(v: Any) -> Failure:
    """The failure of which ``to_data`` made this. Raises ``DecodeError`` for any other data."""
    try:
        return _from_data(v, CHAIN_LIMIT)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DecodeError(f"not a stored failure: {error}") from error


def _from_data(v: Any, room: int) -> Failure:
    if room == 0:
        raise ValueError(f"more than {CHAIN_LIMIT} causes")
    texts = {name: v[name] for name in _TEXTS}
    if type(v["line"]) is not int or {type(text) for text in texts.values()} != {str}:
        raise TypeError("an entry is of the wrong type")
    if v.keys() != _ENTRIES or {type(note) for note in v["notes"]} - {str}:
        raise TypeError("an entry is missing, unknown or of the wrong type")
    return Failure(
        **texts,
        line=v["line"],
        notes=tuple(v["notes"]),
        source=tuple((_line_number(number), "" + text) for number, text in v["source"]),
        cause=None if v["cause"] is None else _from_data(v["cause"], room - 1),
    )


def _line_number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a line number is not a number")
    return value


_TEXTS = ("kind", "message", "module", "traceback", "file", "function", "fingerprint")
_ENTRIES = {*_TEXTS, "line", "notes", "source", "cause"}


def to_text(failure: Failure) -> str:
    """``failure`` as plain JSON, for the column of an error."""
    return json.dumps(to_data(failure), separators=(",", ":"))


def from_text(text: str) -> Failure:
    """The failure that ``to_text`` wrote. Raises ``DecodeError`` for any other text."""
    try:
        data = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DecodeError(f"not a stored failure: {error}") from error
    return from_data(data)


def cause_of(failure: Failure, *, step: str = "") -> Cause:
    """Return what a dead letter says of a failure, which is that of this ``step`` if of any."""
    place = f"{failure.function} in {short_name(failure.file)}" if failure.file else ""
    return Cause(
        fingerprint=failure.fingerprint,
        kind=_line(failure.kind, KIND_LENGTH),
        message=_line(failure.message, SHOWN_LENGTH),
        step=step,
        place=_line(place, KIND_LENGTH),
    )


def _line(text: str, limit: int) -> str:
    """Return the beginning of a text on one line, in characters that every database takes."""
    words = " ".join(text[: 2 * limit].replace("\0", "\N{SYMBOL FOR NULL}").split())
    return words.encode("utf-8", "backslashreplace").decode()[:limit]


def overdue(run: Run) -> ForcedEnd:
    """Return how a run ends whose deadline has come: expired if it was never started."""
    if run.started_at is None:
        never = RunExpired("it was not started within its ttl")
        return _end(RunState.EXPIRED, "expire", never)
    late = RunTimedOut(f"it was not over within its max_duration of {run.spec.max_duration}")
    return _end(RunState.TIMED_OUT, "time out", late)


def crashed(crashes: int) -> ForcedEnd:
    """Return how a run ends that lost so many workers."""
    dead = RunCrashed(f"its worker died {crashes} times while it executed the run")
    return _end(RunState.FAILED, "fail", dead)


def _end(state: RunState, verb: str, error: Exception) -> ForcedEnd:
    failure = describe(error)
    return ForcedEnd(state=state, verb=verb, error=to_text(failure), cause=cause_of(failure))
