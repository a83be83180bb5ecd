"""Puts what is stored of a run into a tree of spans."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.db import router

from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.models import Checkpoint, FailedAttempt, History, Run, Wait
from trigger_celery_django.models.base import Measured
from trigger_celery_django.trace.awaited import what_is_awaited
from trigger_celery_django.trace.rows import Rows, read
from trigger_celery_django.trace.spans import SpanKind, TraceSpan, Used

_LONGEST_DETAIL = 200
_RECALLED_ONE_BY_ONE = 3


def trace_of(run_id: UUID, *, using: str | None = None) -> TraceSpan | None:
    """Return the trace of a run and of the runs it started; None if there is no such run.

    ``using`` is the alias of the database; by default it is the one that runs are written to.
    """
    rows = read(using or router.db_for_write(Run), run_id)
    return None if rows is None else span_of(rows)


def span_of(rows: Rows) -> TraceSpan:
    """Return the trace of a run whose rows were read."""
    return _Tracer(rows).run()


class _Tracer:
    """Builds the span of one run from its rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._row = rows.run
        self._id = rows.run.pk
        self._born = rows.run.created_at
        self._inside = _by_fence(self._spans_inside())
        self._run_failures = {f.fence: _error(f.error) for f in rows.failures if not f.key}

    def run(self) -> TraceSpan:
        parts = [*self._stretches(), *self._waits(), *self._copied(), *self._children()]
        return TraceSpan(
            id=f"run-{self._id.hex}",
            kind=SpanKind.RUN,
            name=self._row.task,
            began_at=self._born,
            ended_at=self._row.finished_at,
            state=self._row.state,
            detail=_error(self._row.error),
            attempt=self._row.attempt,
            run_id=self._id,
            spans=tuple(sorted(parts, key=lambda span: span.began_at)),
        )

    def _stretches(self) -> Iterator[TraceSpan]:
        """Say what the run was between two entries of its history: queued, paused, executing."""
        entries = self._rows.history
        paused: History | None = None
        for index, entry in enumerate(entries):
            if entry.verb == "pause":
                paused = entry
            elif paused is not None and (entry.verb == "resume" or entry.state in _ENDS):
                yield self._span(SpanKind.PAUSED, "paused", paused.at, entry.at, paused)
                paused = None
            if index and entries[index - 1].state == entry.state:
                continue  # it stayed what it was: paused, rescheduled, published
            following = (each for each in entries[index + 1 :] if each.state != entry.state)
            after = next(following, None)
            if entry.state == RunState.QUEUED:
                ended_at = None if after is None else after.at
                waits_to_start = after is None and self._row.available_at > entry.at
                name = "delayed" if waits_to_start else "queued"
                yield self._span(SpanKind.QUEUED, name, entry.at, ended_at, entry)
            elif entry.state == RunState.EXECUTING:
                yield from self._segment(entry, after)
        if paused is not None:
            yield self._span(SpanKind.PAUSED, "paused", paused.at, None, paused)

    def _span(
        self, kind: SpanKind, name: str, began: datetime, ended: datetime | None, entry: History
    ) -> TraceSpan:
        return TraceSpan(
            id=f"{kind.value}-{entry.sequence}",
            kind=kind,
            name=name,
            began_at=began,
            ended_at=ended,
            detail=_reason(entry),
            run_id=self._id,
        )

    def _segment(self, claim: History, after: History | None) -> Iterator[TraceSpan]:
        inner = sorted(self._inside[claim.fence], key=lambda span: span.began_at)
        crashed = after is not None and _is_crash(after)
        ended_at = None if after is None else after.at
        if crashed and after is not None:
            ended_at = max((span.ended_at or claim.at for span in inner), default=claim.at)
        if after is not None and not crashed or inner:
            inner = [*self._recalled(claim), *inner]
        yield TraceSpan(
            id=f"segment-{claim.sequence}",
            kind=SpanKind.SEGMENT,
            name=claim.worker,
            began_at=claim.at,
            ended_at=ended_at,
            state="executing" if after is None else after.verb,
            detail=self._run_failures.get(claim.fence, ""),
            run_id=self._id,
            spans=tuple(inner),
        )
        if crashed and after is not None and ended_at is not None:
            yield TraceSpan(
                id=f"crash-{after.sequence}",
                kind=SpanKind.CRASH,
                name="worker lost",
                began_at=ended_at,
                ended_at=after.at,
                state=after.state,
                detail=f"nothing was heard of {claim.worker}",
                run_id=self._id,
            )

    def _recalled(self, claim: History) -> list[TraceSpan]:
        """Return the steps that a later segment got from their checkpoints; many as one span."""
        steps = [
            step
            for step in self._rows.checkpoints
            if 0 < step.fence < claim.fence and not step_keys.is_reserved(step.key)
        ]
        names = [step.key for step in steps]
        if len(steps) > _RECALLED_ONE_BY_ONE:
            names = [f"{len(steps):,} steps"]
        return [
            TraceSpan(
                id=f"recalled-{claim.sequence}-{number}",
                kind=SpanKind.RECALLED,
                name=name,
                began_at=claim.at,
                ended_at=claim.at,
                state="recalled",
                run_id=self._id,
            )
            for number, name in enumerate(names)
        ]

    def _spans_inside(self) -> Iterator[tuple[int, TraceSpan]]:
        """Yield what happened in segments, with the fence of the segment."""
        for step in self._rows.checkpoints:
            if not step_keys.is_reserved(step.key):
                yield step.fence, self._step(step)
        for failure in self._rows.failures:
            if failure.key:
                yield failure.fence, self._failed(failure)

    def _step(self, step: Checkpoint) -> TraceSpan:
        return TraceSpan(
            id=f"step-{step.pk}",
            kind=SpanKind.STEP,
            name=step.key,
            began_at=step.started_at,
            ended_at=step.ended_at,
            state="completed",
            attempt=step.attempt,
            source=step.source,
            used=_used(step),
            run_id=self._id,
        )

    def _failed(self, failure: FailedAttempt) -> TraceSpan:
        return TraceSpan(
            id=f"failed-{failure.pk}",
            kind=SpanKind.FAILED,
            name=failure.key,
            began_at=failure.started_at,
            ended_at=failure.ended_at,
            state="failed",
            detail=_error(failure.error),
            attempt=failure.number,
            source=failure.source,
            used=_used(failure),
            run_id=self._id,
        )

    def _waits(self) -> Iterator[TraceSpan]:
        for wait in self._rows.waits:
            if wait.created_at < self._born:
                continue
            backoff = wait.kind == StepKind.RETRY
            yield TraceSpan(
                id=f"wait-{wait.pk}",
                kind=SpanKind.BACKOFF if backoff else SpanKind.WAIT,
                name=_retried(wait) if backoff else step_keys.awaited_fan_out(wait.key),
                began_at=wait.created_at,
                ended_at=wait.resolved_at,
                state=_outcome(wait),
                detail=_wanted(wait),
                source=wait.source,
                until=wait.due_at,
                run_id=self._id,
                spans=tuple(self._runs_of(wait.key)),
            )

    def _copied(self) -> Iterator[TraceSpan]:
        """Show what a fork got from another run; its times are that run's."""
        copied = (step.key for step in self._rows.checkpoints if not step.fence)
        keys = [key for key in copied if not step_keys.is_reserved(key)]
        keys += [wait.key for wait in self._rows.waits if wait.created_at < self._born]
        if keys:
            yield TraceSpan(
                id=f"copied-{self._id.hex}",
                kind=SpanKind.COPIED,
                name=f"{len(keys)} copied",
                began_at=self._born,
                ended_at=self._born,
                detail=f"from run {self._row.copied_from_id}",
                run_id=self._id,
            )

    def _children(self) -> Iterator[TraceSpan]:
        """Return the runs that this one started, but for those below the wait for them."""
        awaited = {wait.key for wait in self._rows.waits}
        for rows in self._rows.children:
            if rows.run.parent_key not in awaited:
                yield _Tracer(rows).run()
        if self._rows.more > 0:
            yield TraceSpan(
                id=f"more-{self._id.hex}",
                kind=SpanKind.MORE,
                name=f"{self._rows.more} more runs",
                began_at=self._row.finished_at or self._born,
                ended_at=self._row.finished_at or self._born,
                run_id=self._id,
            )

    def _runs_of(self, key: str) -> Iterator[TraceSpan]:
        return (_Tracer(rows).run() for rows in self._rows.children if rows.run.parent_key == key)


_ENDS = frozenset(state for state in RunState if state.terminal)


def _by_fence(spans: Iterable[tuple[int, TraceSpan]]) -> Mapping[int, list[TraceSpan]]:
    found: dict[int, list[TraceSpan]] = defaultdict(list)
    for fence, span in spans:
        found[fence].append(span)
    return found


def _used(measured: Measured) -> Used:
    return Used(
        cpu=timedelta(microseconds=measured.cpu_us),
        peak_memory=measured.peak_memory,
        queries=measured.queries,
        worker=measured.worker,
    )


def _is_crash(entry: History) -> bool:
    return "crashes" in json.loads(entry.data)


def _reason(entry: History) -> str:
    data = json.loads(entry.data)
    parts = [data.get("reason", ""), f"by {data['by']}" if data.get("by") else ""]
    return " ".join(filter(None, parts))


def _error(text: str | None) -> str:
    if not text:
        return ""
    failure = from_text(text)
    said = f"{failure.kind}: {failure.message}" if failure.message else failure.kind
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}..."


def _outcome(wait: Wait) -> str:
    timed = wait.kind in (StepKind.SLEEP, StepKind.RETRY)
    return "over" if timed and wait.state == WaitState.TIMEOUT else wait.state


def _retried(wait: Wait) -> str:
    return f"before the next attempt of {step_keys.retried_step(wait.key) or 'the run'}"


def _wanted(wait: Wait) -> str:
    if wait.kind != StepKind.EVENT:
        return ""
    wanted = what_is_awaited(wait).wanted
    return " ".join(
        [wait.name, " and ".join(f"{path} = {value}" for path, value in wanted)]
    ).rstrip()
