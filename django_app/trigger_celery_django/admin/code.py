"""The source of a task as it was when the run ran, each line with what it did."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.safestring import SafeString

from trigger_celery.client.runs import declared_version
from trigger_celery_django.drawing.source_lines import Mark, source_lines
from trigger_celery_django.drawing.times import spoken
from trigger_celery_django.models import Run, TaskVersion
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import SpanKind, TraceSpan

_OUTCOMES = {
    SpanKind.STEP: ("completed", "ok"),
    SpanKind.FAILED: ("failed", "bad"),
    SpanKind.WAIT: ("waiting", "warn"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The lines of a task as rows of a table, where they stand, and how they differ today."""

    where: str
    lines: SafeString
    differs: str


def code_of(run: Run, trace: TraceSpan, selected: TraceSpan, *, alias: str) -> Code | None:
    """Return the source that a run was claimed with; None if it was not kept."""
    version = TaskVersion.objects.using(alias).filter(pk=run.version).first()
    if version is None or not version.source:
        return None
    lines = list(enumerate(version.source.splitlines(), version.first_line))
    marks = _marks(_calls(trace, version.file), selected)
    return Code(
        where=f"{version.file}:{version.first_line}",
        lines=source_lines([(number, visible(text)) for number, text in lines], marks),
        differs=_differs(version),
    )


def _calls(trace: TraceSpan, file: str) -> dict[int, list[TraceSpan]]:
    """Return the spans of the run itself by the line of the body that called them."""
    called: dict[int, list[TraceSpan]] = defaultdict(list)
    for span in _own(trace):
        path, _, line = span.source.rpartition(":")
        if line.isdecimal() and os.path.basename(path) == os.path.basename(file):
            called[int(line)].append(span)
    return called


def _own(trace: TraceSpan) -> Iterable[TraceSpan]:
    for span in trace.spans:
        if span.kind is not SpanKind.RUN:
            yield span
            yield from _own(span)


def _marks(called: dict[int, list[TraceSpan]], selected: TraceSpan) -> dict[int, Mark]:
    marks = {}
    for number, spans in called.items():
        words = [_words(span) for span in spans if span.kind in _OUTCOMES]
        if not words:
            continue
        last = next(span for span in reversed(spans) if span.kind in _OUTCOMES)
        sign, tone = ("completed", "ok") if _is_over(last) else _OUTCOMES[last.kind]
        row = "hit wait" if sign == "waiting" else "err" if sign == "failed" else ""
        if any(span.id == selected.id for span in spans):
            row = f"hit {row}"
        more = f" and {len(words) - 3} more" if len(words) > 3 else ""
        said = ", then ".join(words[:3]) + more
        marks[number] = Mark(words=said, icon=sign, tone=tone, row=row)
    return marks


def _is_over(span: TraceSpan) -> bool:
    return span.kind is SpanKind.WAIT and span.ended_at is not None and span.state != "timeout"


def _words(span: TraceSpan) -> str:
    if span.ended_at is None:
        return "waits here now"
    length = spoken(span.ended_at - span.began_at)
    match span.kind:
        case SpanKind.FAILED:
            return f"failed after {length}: {visible(span.detail.partition(':')[0])}"
        case SpanKind.WAIT:
            return f"waited {length}"
    return length


def _differs(version: TaskVersion) -> str:
    today = declared_version(version.task)
    if today is None or not today.source or today.digest == version.digest:
        return ""
    return "The task's source is another one today."
