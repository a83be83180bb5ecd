"""Rows into records, and records into the columns of rows.

The columns of a run are the fields of its records, whose names are theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypedDict

from trigger_celery.errors import InvalidName
from trigger_celery.vocabulary import records
from trigger_celery.vocabulary.records import ListedRun, Run, RunSpec
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.tags import tags_text
from trigger_celery_django.store.common.times import DatabaseNow, aware

SPEC_COLUMNS = tuple(field.name for field in fields(RunSpec))
"""What no transition changes."""
STATE_COLUMNS = tuple(field.name for field in fields(Run) if field.name != "spec")
"""What the transitions change."""
RUN_COLUMNS = SPEC_COLUMNS + STATE_COLUMNS

LISTED_COLUMNS = tuple(field.name for field in fields(ListedRun))
"""What a list of runs reads."""

_SPECS = len(SPEC_COLUMNS)
_TAGS, _STATE = SPEC_COLUMNS.index("tags"), STATE_COLUMNS.index("state")


def spec_columns(spec: RunSpec) -> dict[str, Any]:
    """Return the columns of what a run is."""
    columns = {name: getattr(spec, name) for name in SPEC_COLUMNS}
    return {**columns, "tags": tags_text(spec.tags) if spec.tags else ""}


def run_columns(run: Run) -> dict[str, Any]:
    """Return the columns of a run."""
    return {**spec_columns(run.spec), **{name: getattr(run, name) for name in STATE_COLUMNS}}


def run_of(columns: Sequence[Any]) -> Run:
    """Return the record of a row's columns, given in the order of ``RUN_COLUMNS``."""
    spec, state = list(columns[:_SPECS]), list(columns[_SPECS:])
    spec[_TAGS] = tuple(json.loads(spec[_TAGS])) if spec[_TAGS] else ()
    state[_STATE] = RunState(state[_STATE])
    return Run(
        spec=RunSpec(**dict(zip(SPEC_COLUMNS, spec, strict=True))),
        **dict(zip(STATE_COLUMNS, state, strict=True)),
    )


def run_record(row: models.Run) -> Run:
    """Return the record of a row."""
    return run_of([getattr(row, name) for name in RUN_COLUMNS])


def listed_run(columns: Mapping[str, Any]) -> ListedRun:
    """Return the record of ``LISTED_COLUMNS`` by their names."""
    tags = tuple(json.loads(columns["tags"])) if columns["tags"] else ()
    return ListedRun(**{**columns, "state": RunState(columns["state"]), "tags": tags})


class SpanColumns(TypedDict):
    """The columns of a span."""

    started_at: object
    ended_at: object
    cpu_us: int
    peak_memory: int
    queries: int
    worker: str
    source: str


def event_record(row: models.Event) -> records.StoredEvent:
    """Return the record of a row."""
    return records.StoredEvent(
        sequence=row.sequence,
        id=row.event_id,
        name=row.name,
        payload=row.payload,
        received_at=aware(row.received_at),
        source=row.source,
    )


def nudge(run: models.Run) -> records.Nudge:
    """Return the hint that this run may be claimed."""
    return records.Nudge(run_id=run.id, task=run.task, canvas=run.canvas)


def history_record(row: models.History) -> records.HistoryEntry:
    """Return the record of a row."""
    return records.HistoryEntry(
        run_id=row.run_id,
        sequence=row.sequence,
        at=row.at,
        verb=row.verb,
        state=RunState(row.state),
        fence=row.fence,
        worker=row.worker,
        data=row.data,
    )


def noted(run: models.Run | records.Run, verb: str, **data: object) -> models.History:
    """Return the unsaved history entry of a transition; the run is as it is afterwards."""
    return models.History(
        run_id=run.id,
        at=DatabaseNow(),
        verb=verb,
        state=run.state,
        fence=run.fence,
        worker=run.worker,
        data=json.dumps(data),
    )


def span_columns(span: records.Span) -> SpanColumns:
    """Return the columns of a span."""
    return SpanColumns(
        started_at=span.started_at,
        ended_at=span.ended_at,
        cpu_us=span.cpu // timedelta(microseconds=1),
        peak_memory=span.peak_memory,
        queries=span.queries,
        worker=span.worker,
        source=span.source,
    )


def add_failure(alias: str, lease: records.Lease, failed: records.FailedAttempt) -> None:
    """Store a failed attempt, once; the caller holds the run's lock."""
    row = models.FailedAttempt(run_id=lease.run_id, fence=lease.fence, **failure_columns(failed))
    models.FailedAttempt.objects.using(alias).bulk_create([row], ignore_conflicts=True)


def failure_columns(failed: records.FailedAttempt) -> dict[str, object]:
    """Return the columns of a failed attempt, but for its run and fence."""
    return {
        "key": failed.key,
        "run_attempt": failed.run_attempt,
        "number": failed.number,
        "error": failed.error,
        "kind": failed.kind,
        "position": failed.position,
        "holds": failed.holds,
        "raised": failed.raised,
        **span_columns(failed.span),
    }


def check_length(what: str, name: str) -> None:
    """Raise ``InvalidName`` for a name that does not fit: no database may cut it silently."""
    if len(name) > models.NAME_LENGTH:
        raise InvalidName(
            f"expected the {what} to have at most {models.NAME_LENGTH} characters, "
            f"got {len(name)}: {name[:40]!r}..."
        )


def shape_digest(name: str, paths: str) -> str:
    """Return the primary key of a wait shape."""
    return hashlib.sha256(f"{name}\0{paths}".encode()).hexdigest()
