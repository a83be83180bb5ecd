"""Recorded steps on every database but PostgreSQL: one guarded insert and its commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, Lease, Span
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import lost
from trigger_celery_django.store.common.rows import CLOCKS


def record(connection: BaseDatabaseWrapper, lease: Lease, checkpoint: Checkpoint) -> None:
    """Store a step's success, once for all."""
    values = (
        checkpoint.key,
        checkpoint.kind.value,
        checkpoint.value,
        checkpoint.position,
        checkpoint.attempt,
        checkpoint.token,
        *_span_values(checkpoint.span),
        datetime.now(UTC),  # stands in for the database's clock where that is this process's
    )
    if _insert(connection, models.Checkpoint, _CHECKPOINT, values, lease):
        return
    mine = models.Checkpoint.objects.using(connection.alias).filter(
        run=lease.run_id, key=checkpoint.key, token=checkpoint.token
    )
    if not mine.exists():
        raise lost(lease)


def record_failure(connection: BaseDatabaseWrapper, lease: Lease, failed: FailedAttempt) -> None:
    """Store a failed attempt of a step, once for all."""
    values = (
        failed.key,
        failed.run_attempt,
        failed.number,
        failed.error,
        failed.kind.value,
        failed.position,
        failed.holds.value,
        failed.raised,
        *_span_values(failed.span),
    )
    if _insert(connection, models.FailedAttempt, _FAILED, values, lease):
        return
    mine = models.FailedAttempt.objects.using(connection.alias).filter(
        run=lease.run_id, fence=lease.fence, key=failed.key, number=failed.number
    )
    if not mine.exists():
        raise lost(lease)


_SPAN = ("started_at", "ended_at", "cpu_us", "peak_memory", "queries", "worker", "source")
_CHECKPOINT = ("key", "kind", "value", "position", "attempt", "token", *_SPAN, "recorded_at")
_FAILED = (
    *("key", "run_attempt", "number", "error", "kind", "position", "holds", "raised"),
    *_SPAN,
)


def _span_values(span: Span) -> tuple[str | int | datetime, ...]:
    return (
        span.started_at,
        span.ended_at,
        span.cpu // _MICROSECOND,
        span.peak_memory,
        span.queries,
        span.worker,
        span.source,
    )


def _insert(
    connection: BaseDatabaseWrapper,
    model: type[Model],
    columns: tuple[str, ...],
    values: tuple[str | int | datetime, ...],
    lease: Lease,
) -> bool:
    """Insert a row of the run if the lease holds and the row is new."""
    statement, clocked = _statement(connection.vendor, model, columns)
    adapt = connection.ops.adapt_datetimefield_value
    # Text and numbers are what a field would make of them; this way costs a tenth.
    parameters = [adapt(each) if isinstance(each, datetime) else each for each in values]
    if clocked:
        parameters.pop()
    run_id = models.Run._meta.pk.get_db_prep_value(lease.run_id, connection)
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, [*parameters, run_id, lease.fence, lease.token])
        except IntegrityError:
            # MySQL and MariaDB take back this statement only; a transaction goes on.
            return False
        return bool(cursor.rowcount)


@cache
def _statement(vendor: str, model: type[Model], columns: tuple[str, ...]) -> tuple[str, bool]:
    """Return the statement, and whether the database's clock fills the last column."""
    clock = CLOCKS.get(vendor) if columns[-1] == "recorded_at" else None
    quote = "`{}`".format if vendor == "mysql" else '"{}"'.format
    names = ["run_id", "fence", *map(quote, columns)]
    selected = ["id", "fence", *["%s"] * len(columns)]
    if clock is not None:
        selected[-1] = clock
    return (
        f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) "
        f"SELECT {', '.join(selected)} FROM {models.Run._meta.db_table} "
        f"WHERE id = %s AND fence = %s AND token = %s AND state = 'executing' {_TAILS[vendor]}"
    ), clock is not None


_MICROSECOND = timedelta(microseconds=1)
_TAILS = {
    "postgresql": "FOR NO KEY UPDATE ON CONFLICT DO NOTHING",
    "mysql": "FOR UPDATE",
    "sqlite": "ON CONFLICT DO NOTHING",
}
