"""What is shown of the span that was chosen in a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.safestring import SafeString

from trigger_celery.values.failures import Failure, from_text
from trigger_celery_django.drawing.badges import badge
from trigger_celery_django.drawing.json_tree import json_tree
from trigger_celery_django.drawing.source_lines import Mark, source_lines
from trigger_celery_django.drawing.times import moment, spoken
from trigger_celery_django.models import Checkpoint, Event, FailedAttempt, Run, Wait
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import SpanKind, TraceSpan
from trigger_celery_django.trace.awaited import what_is_awaited

CAME = 5
"""So many of the last events of a name are shown beside a wait for it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error: its class, message, place, the lines around it, and the whole traceback."""

    kind: str
    message: str
    where: str
    lines: SafeString
    traceback: str
    causes: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Inspector:
    """The facts of a span, its error and its values."""

    title: str
    badge: SafeString
    facts: list[tuple[str, str]]
    used: list[tuple[str, str]] = field(default_factory=list)
    error: Fault | None = None
    wanted: Sequence[tuple[str, str]] = ()
    came: list[tuple[str, str, SafeString]] = field(default_factory=list)
    values: list[SafeString] = field(default_factory=list)
    values_hidden: bool = False


_BADGES = {
    SpanKind.STEP: ("completed", ""),
    SpanKind.FAILED: ("failed", ""),
    SpanKind.RECALLED: ("completed", "From checkpoint"),
    SpanKind.COPIED: ("completed", "Copied"),
    SpanKind.BACKOFF: ("suspended", "Retry delay"),
    SpanKind.QUEUED: ("queued", ""),
    SpanKind.PAUSED: ("paused", ""),
    SpanKind.CRASH: ("failed", "Worker lost"),
}


def inspector(
    span: TraceSpan, trace: TraceSpan, now: datetime, *, alias: str, with_payloads: bool
) -> Inspector:
    """Return what is shown of a span; its values only to those who may see them."""
    shown = Inspector(
        title=visible(span.name),
        badge=_badge(span),
        facts=_facts(span, trace, now),
        used=_used(span),
    )
    _Reader(shown, alias, now, with_payloads).read(span)
    return shown


def _badge(span: TraceSpan) -> SafeString:
    if span.kind is SpanKind.RUN:
        return badge(span.state)
    if span.kind in _BADGES:
        return badge(*_BADGES[span.kind])
    if span.ended_at is None:
        return badge("suspended" if span.kind is SpanKind.WAIT else "executing")
    return badge("completed", span.state.replace("_", " ").capitalize())


def _facts(span: TraceSpan, trace: TraceSpan, now: datetime) -> list[tuple[str, str]]:
    facts = [("Began", moment(span.began_at, now, exact=True))]
    if span.began_at > trace.began_at:
        facts.append(("After the start", spoken(span.began_at - trace.began_at)))
    facts.append(("Took" if span.ended_at else "So far", spoken(span.lasted(now))))
    if span.attempt:
        facts.append(("Attempt", str(span.attempt)))
    if span.until is not None and span.ended_at is None:
        facts.append(("Until", moment(span.until, now)))
        if span.until > now:
            facts.append(("Left", spoken(span.until - now)))
    if span.source:
        facts.append(("Called at", visible(span.source)))
    if span.used is not None:
        facts.append(("Worker", visible(span.used.worker)))
    if span.detail and span.kind not in (SpanKind.FAILED, SpanKind.RUN):
        facts.append(("Says", visible(span.detail)))
    return facts


def _used(span: TraceSpan) -> list[tuple[str, str]]:
    if span.used is None:
        return []
    return [
        ("Wall time", spoken(span.lasted(span.began_at))),
        ("CPU time", spoken(span.used.cpu)),
        ("Peak memory of the process", f"{span.used.peak_memory / 2**20:,.0f} MB"),
        ("Queries", f"{span.used.queries:,}"),
    ]


class _Reader:
    """Reads the row of a span, for its values and its error."""

    def __init__(self, shown: Inspector, alias: str, now: datetime, with_payloads: bool) -> None:
        self._shown = shown
        self._alias = alias
        self._now = now
        self._with_payloads = with_payloads

    def read(self, span: TraceSpan) -> None:
        number = span.id.rpartition("-")[2]
        match span.kind:
            case SpanKind.RUN:
                self._run(Run.objects.using(self._alias).filter(pk=span.run_id).first())
            case SpanKind.STEP:
                rows = Checkpoint.objects.using(self._alias)
                self._value(rows.filter(pk=int(number)).first(), "returned")
            case SpanKind.FAILED:
                failed = FailedAttempt.objects.using(self._alias).filter(pk=int(number)).first()
                self._error(None if failed is None else failed.error)
            case SpanKind.WAIT:
                self._wait(Wait.objects.using(self._alias).filter(pk=int(number)).first())

    def _run(self, run: Run | None) -> None:
        if run is None:
            return
        self._error(run.error)
        for stored, name in ((run.input, "input"), (run.output, "output")):
            self._json(stored, name)
        for stored, name in ((run.metadata, "metadata"), (run.origin, "origin")):
            if stored:
                self._json(stored, name)

    def _value(self, row: Checkpoint | None, name: str) -> None:
        if row is not None:
            self._json(row.value, name)

    def _json(self, stored: str | None, name: str) -> None:
        if stored is None:
            return
        if not self._with_payloads:
            self._shown.values_hidden = True
            return
        self._shown.values.append(json_tree(stored, name))

    def _error(self, stored: str | None) -> None:
        if not stored:
            return
        failure = from_text(stored)
        message = failure.message if self._with_payloads else ""
        causes = tuple(visible(f"{each.kind}: {each.message}") for each in _causes(failure))
        self._shown.error = Fault(
            kind=visible(failure.kind),
            message=_visible_lines(message),
            where=visible(_place(failure)),
            lines=source_lines(
                [(number, visible(text)) for number, text in failure.source],
                {failure.line: Mark(words="", icon="failed", tone="bad", row="err")},
                results=False,
            ),
            traceback=_visible_lines(failure.traceback) if self._with_payloads else "",
            causes=causes if self._with_payloads else (),
        )
        self._shown.values_hidden |= not self._with_payloads

    def _wait(self, wait: Wait | None) -> None:
        if wait is None:
            return
        awaited = what_is_awaited(wait)
        if not self._with_payloads:
            self._shown.values_hidden = True
            return
        self._shown.wanted = [(visible(path), visible(value)) for path, value in awaited.wanted]
        self._json(wait.value, "got")
        if wait.event_id is not None:
            event = Event.objects.using(self._alias).filter(pk=wait.event_id).first()
            self._json(None if event is None else event.payload, "event")
        elif wait.name and wait.resolved_at is None:
            self._came(wait)

    def _came(self, wait: Wait) -> None:
        """Show the last events of the name: they did not match, or they would have ended it."""
        events = Event.objects.using(self._alias).filter(name=wait.name).order_by("-sequence")
        for event in events[:CAME]:
            self._shown.came.append(
                (
                    visible(event.event_id),
                    moment(event.received_at, self._now),
                    json_tree(event.payload, "payload"),
                )
            )


def _place(failure: Failure) -> str:
    return f"{failure.file}:{failure.line} in {failure.function}" if failure.file else ""


def _causes(failure: Failure) -> list[Failure]:
    causes = []
    while failure.cause is not None:
        failure = failure.cause
        causes.append(failure)
    return causes


def _visible_lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))
