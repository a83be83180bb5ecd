"""Rows into records, records into the columns of rows, and many rows in one statement.

The columns of a run are the fields of its records, whose names are theirs; the times in rows are
the database's. Its tags are a column of the run, and rows of their own to find it by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Expression, Func, Model
from django.db.models.sql.compiler import SQLCompiler
from django.utils.dateparse import parse_datetime

from trigger_celery.errors import InvalidName
from trigger_celery.vocabulary import records
from trigger_celery.vocabulary.records import ListedRun, NewRun, Run, RunSpec
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.models import RunTag

# Not clock_timestamp(): compared with a volatile function, PostgreSQL uses no index.
CLOCKS = {"postgresql": "statement_timestamp()", "mysql": "UTC_TIMESTAMP(6)"}


class DatabaseNow(Func):
    """The database's time when the statement began, not the transaction.

    SQLite has milliseconds only; its file is on this host, so that the clock of this
    process is the database's clock.
    """

    arity = 0
    output_field = DateTimeField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        return clock_sql(connection)


def clock_sql(connection: BaseDatabaseWrapper) -> tuple[str, tuple[str | int, ...]]:
    """Return an SQL expression for the database's time, and its parameters."""
    clock = CLOCKS.get(connection.vendor)
    if clock is not None:
        return clock, ()
    return "%s", (str(connection.ops.adapt_datetimefield_value(datetime.now(UTC))),)


def read_now(connection: BaseDatabaseWrapper) -> datetime:
    """Return the database's time."""
    clock = CLOCKS.get(connection.vendor)
    if clock is None:
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {clock}")
        (now,) = cursor.fetchone()
    return aware(now)


def aware(value: datetime | str) -> datetime:
    """Return a time of a raw row as an aware one: MySQL gives naive UTC, SQLite text."""
    if isinstance(value, str):
        parsed = parse_datetime(value)
        assert parsed is not None, value
        value = parsed
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


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


_FEW = 20
"""Up to so many rows SQLite takes as everybody else."""


def insert(alias: str, rows: Sequence[Model], *, ignore_conflicts: bool = False) -> None:
    """Insert the rows, which are all of one model; keys that the database makes stay unset."""
    connection = connections[alias]
    if connection.vendor == "sqlite" and len(rows) > _FEW:
        _insert_json(connection, rows, ignore="OR IGNORE " if ignore_conflicts else "")
    elif rows:
        manager = type(rows[0])._default_manager.using(alias)
        manager.bulk_create(rows, ignore_conflicts=ignore_conflicts)


def upsert(
    alias: str, rows: Sequence[Model], *, unique: Sequence[str], over: Sequence[str]
) -> None:
    """Insert the rows, which are all of one model and differ in the fields ``unique``.

    Of one that is there already the fields ``over`` are replaced, and it is locked.
    """
    connection, meta = connections[alias], rows[0]._meta
    column_of = {field.attname: str(field.column) for field in meta.concrete_fields}
    if connection.vendor == "sqlite" and len(rows) > _FEW:
        keys = ", ".join(column_of[name] for name in unique)
        columns = [column_of[name] for name in over]
        values = ", ".join(f"{column} = excluded.{column}" for column in columns)
        # Without a WHERE the parser would take ON for that of a join.
        last = f" WHERE true ON CONFLICT ({keys}) DO UPDATE SET {values}"
        _insert_json(connection, rows, last=last)
    else:
        target = connection.features.supports_update_conflicts_with_target
        type(rows[0])._default_manager.using(alias).bulk_create(
            rows,
            update_conflicts=True,
            update_fields=over,
            unique_fields=unique if target else None,
        )


def _insert_json(
    connection: BaseDatabaseWrapper, rows: Sequence[Model], *, ignore: str = "", last: str = ""
) -> None:
    """Give all rows as one parameter, a JSON list of lists."""
    meta = rows[0]._meta
    generated = rows[0].pk is None
    fields = [field for field in meta.concrete_fields if not (generated and field.primary_key)]
    values = [[_value(connection, field, row) for field in fields] for row in rows]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    parts = ", ".join(f"value ->> {number}" for number in range(len(fields)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT {ignore}INTO {quote(meta.db_table)} ({columns}) "
            f"SELECT {parts} FROM json_each(%s){last}",
            [json.dumps(values)],
        )


def _value(connection: BaseDatabaseWrapper, field: Any, row: Model) -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, Expression):  # the database's time, the only one that rows are given
        value = datetime.now(UTC)
    return field.get_db_prep_save(value, connection=connection)


def tags_text(tags: Sequence[str]) -> str:
    """Return the text of a row's tags."""
    return json.dumps(tags) if tags else ""


def add_tags(alias: str, runs: Sequence[NewRun], created: Collection[UUID]) -> None:
    """Store the tags of those runs that were created; without tags nothing is sent."""
    rows = [
        RunTag(run_id=run.id, tag=tag)
        for run in {run.id: run for run in runs}.values()
        if run.id in created
        for tag in run.tags
    ]
    if rows:
        insert(alias, rows)


def replace_tags(alias: str, run_id: UUID, tags: Sequence[str]) -> None:
    """Store these tags of a run in place of what it had."""
    RunTag.objects.using(alias).filter(run=run_id).delete()
    insert(alias, [RunTag(run_id=run_id, tag=tag) for tag in tags])
