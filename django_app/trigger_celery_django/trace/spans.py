"""One stretch of time in the life of a run, and those inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class SpanKind(StrEnum):
    """What a span is about."""

    RUN = "run"
    QUEUED = "queued"
    PAUSED = "paused"
    SEGMENT = "segment"
    STEP = "step"
    RECALLED = "recalled"
    FAILED = "failed attempt"
    WAIT = "wait"
    BACKOFF = "backoff"
    CRASH = "crash"
    COPIED = "copied"
    MORE = "more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a stretch used: CPU time, the process's peak memory in bytes at its end, queries."""

    cpu: timedelta
    peak_memory: int
    queries: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """A stretch of time. ``ended_at`` is None while it lasts; ``state`` is how it is or ended.

    ``id`` names it within its trace. ``name`` is the task of a run, the key of a step or wait,
    the worker of a segment; ``detail`` is one line for people, ``attempt`` counts the tries of a
    step, ``until`` is when a wait times out.
    """

    id: str
    kind: SpanKind
    name: str
    began_at: datetime
    ended_at: datetime | None = None
    state: str = ""
    detail: str = ""
    attempt: int = 0
    source: str = ""
    until: datetime | None = None
    used: Used | None = None
    run_id: UUID
    spans: tuple[TraceSpan, ...] = ()

    def lasted(self, now: datetime) -> timedelta:
        """Return how long it took, or takes by now."""
        return max(timedelta(0), (self.ended_at or now) - self.began_at)

    def without_values(self) -> TraceSpan:
        """Return it, and all inside it, without messages of errors and values of filters."""
        detail = self.detail
        if self.kind in _WITH_ERRORS:
            detail = detail.partition(":")[0]
        elif self.kind is SpanKind.WAIT:
            detail = detail.partition(" ")[0]
        inside = tuple(span.without_values() for span in self.spans)
        return replace(self, detail=detail, spans=inside)


_WITH_ERRORS = frozenset({SpanKind.RUN, SpanKind.SEGMENT, SpanKind.FAILED})


def as_data(span: TraceSpan) -> dict[str, object]:
    """Return a span and all inside it as plain data: what ``--json`` prints."""
    return {
        "id": span.id,
        "kind": span.kind.value,
        "name": span.name,
        "run": str(span.run_id),
        "began_at": span.began_at.isoformat(),
        "ended_at": span.ended_at and span.ended_at.isoformat(),
        "state": span.state,
        "detail": span.detail,
        "attempt": span.attempt,
        "source": span.source,
        "spans": [as_data(each) for each in span.spans],
    }
