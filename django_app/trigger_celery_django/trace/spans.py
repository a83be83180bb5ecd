"""One stretch of time in the life of a run, and those inside it."""

from __future__ import annotations

from dataclasses import dataclass
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
    FAILED = "failed attempt"
    WAIT = "wait"
    BACKOFF = "backoff"
    CRASH = "crash"
    COPIED = "copied"
    MORE = "more"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """A stretch of time. ``ended_at`` is None while it lasts; ``state`` is how it is or ended.

    ``name`` is the task of a run, the key of a step or wait, the worker of a segment;
    ``detail`` is one line for people, ``attempt`` counts the tries of a step.
    """

    kind: SpanKind
    name: str
    began_at: datetime
    ended_at: datetime | None = None
    state: str = ""
    detail: str = ""
    attempt: int = 0
    source: str = ""
    run_id: UUID
    spans: tuple[TraceSpan, ...] = ()

    def lasted(self, now: datetime) -> timedelta:
        """Return how long it took, or takes by now."""
        return max(timedelta(0), (self.ended_at or now) - self.began_at)


def as_data(span: TraceSpan) -> dict[str, object]:
    """Return a span and all inside it as plain data: what ``--json`` prints."""
    return {
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
