"""Draws a trace for a terminal: a tree with times, durations and bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from trigger_celery_django.printable import visible
from trigger_celery_django.trace.spans import SpanKind, TraceSpan

Paint = Callable[[TraceSpan, str], str]
"""Colours the name of a span, or leaves it."""

_BAR = 24
_SHORT = timedelta(seconds=1)
_MARKS = {
    SpanKind.QUEUED: ".",
    SpanKind.PAUSED: ".",
    SpanKind.WAIT: "-",
    SpanKind.BACKOFF: "-",
    SpanKind.CRASH: "x",
    SpanKind.FAILED: "x",
}
_TREES = {True: ("├─ ", "└─ ", "│  "), False: ("|- ", "`- ", "|  ")}


def lines(
    trace: TraceSpan,
    *,
    now: datetime,
    paint: Paint = lambda span, text: text,
    unicode: bool = True,
) -> Iterator[str]:
    """Return the lines of a trace; ``now`` is where what still lasts is cut off.

    The bars show, from left to right, where in the whole a span lies: ``#`` executing,
    ``-`` waiting, ``.`` queued or paused, ``x`` failed or lost.
    """
    whole = max(trace.lasted(now), timedelta(microseconds=1))
    yield from _title(trace, now, paint)
    drawn = _below(trace, "", _TREES[unicode])
    width = min(60, max((len(line.prefix + line.text) for line in drawn), default=0))
    for line in drawn:
        at, lasted = line.span.began_at - trace.began_at, line.span.lasted(now)
        padding = " " * (width - len(line.prefix + line.text))
        label = f"{line.prefix}{paint(line.span, line.text)}{padding}"
        length = "" if line.span.kind in (SpanKind.COPIED, SpanKind.MORE) else duration(lasted)
        bar = _bar(line.span.kind, at / whole, lasted / whole) if length else " " * _BAR
        said = visible(_said(line.span, now))
        text = f"{duration(at):>8}  {label}  {length:>8}  |{bar}|  {said}".rstrip()
        yield text if unicode else text.encode("ascii", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class _Line:
    span: TraceSpan
    text: str
    prefix: str


def _below(span: TraceSpan, margin: str, tree: tuple[str, str, str]) -> list[_Line]:
    fork, last, bar = tree
    shown_spans = [each for each in span.spans if not _is_noise(each)]
    found = []
    for index, each in enumerate(shown_spans):
        ends = index == len(shown_spans) - 1
        found.append(_Line(each, visible(_name(each)), margin + (last if ends else fork)))
        found += _below(each, margin + ("   " if ends else bar), tree)
    return found


def _is_noise(span: TraceSpan) -> bool:
    """Whether the span only says that a worker took its message at once, or went on."""
    if span.kind is SpanKind.RECALLED:
        return True
    if span.kind is not SpanKind.QUEUED or span.ended_at is None:
        return False
    return span.ended_at - span.began_at < _SHORT


def _title(trace: TraceSpan, now: datetime, paint: Paint) -> Iterator[str]:
    began = trace.began_at.strftime("%Y-%m-%d %H:%M:%S %Z")
    length = duration(trace.lasted(now))
    lasted = f"took {length}" if trace.ended_at else f"after {length}"
    name = paint(trace, visible(trace.name))
    yield f"{name}  {trace.run_id}  {trace.state}, {lasted}, began {began}"
    if trace.detail:
        yield f"          {visible(trace.detail)}"


def _name(span: TraceSpan) -> str:
    match span.kind:
        case SpanKind.SEGMENT:
            return f"worker {span.name}"
        case SpanKind.WAIT:
            return f"wait {span.name}"
        case SpanKind.BACKOFF:
            return "backoff"
        case SpanKind.RUN:
            return f"run {span.name} {span.run_id}"
    return span.name


def _said(span: TraceSpan, now: datetime) -> str:
    """Return the last column: how it ended, and why."""
    match span.kind:
        case SpanKind.STEP:
            return f"attempt {span.attempt}" if span.attempt > 1 else ""
        case SpanKind.FAILED:
            return f"attempt {span.attempt} failed: {span.detail}"
        case SpanKind.BACKOFF:
            return span.name
        case SpanKind.WAIT:
            state = "waiting" if span.ended_at is None else span.state
            return f"{state}: {span.detail}" if span.detail else state
    return ": ".join(filter(None, (span.state, span.detail)))


def _bar(kind: SpanKind, begins: float, share: float) -> str:
    first = min(_BAR - 1, max(0, int(begins * _BAR)))
    length = max(1, min(_BAR - first, round(share * _BAR)))
    mark = _MARKS.get(kind, "#")
    return " " * first + mark * length + " " * (_BAR - first - length)


def duration(length: timedelta) -> str:
    """Return a duration as people read it, in at most eight characters."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if hours < 1:
        return f"{int(minutes)}m {int(seconds % 60):02}s"
    if days < 1:
        return f"{int(hours)}h {int(minutes % 60):02}m"
    return f"{int(days)}d {int(hours % 24):02}h"
