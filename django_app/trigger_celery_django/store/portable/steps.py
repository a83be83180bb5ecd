"""Recorded steps on every database but PostgreSQL: one guarded insert and its commit."""

from __future__ import annotations

from typing import Any, cast

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model

from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, Lease
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import lost
from trigger_celery_django.store.common.rows import failure_columns, span_columns
from trigger_celery_django.store.common.times import clock_sql


def record(connection: BaseDatabaseWrapper, lease: Lease, checkpoint: Checkpoint) -> None:
    """Store a step's success, once for all."""
    values = {
        "key": checkpoint.key,
        "kind": checkpoint.kind.value,
        "value": checkpoint.value,
        "position": checkpoint.position,
        "attempt": checkpoint.attempt,
        "token": checkpoint.token,
        **span_columns(checkpoint.span),
    }
    if _insert(connection, models.Checkpoint, values, lease, stamp="recorded_at"):
        return
    mine = models.Checkpoint.objects.using(connection.alias).filter(
        run=lease.run_id, key=checkpoint.key, token=checkpoint.token
    )
    if not mine.exists():
        raise lost(lease)


def record_failure(connection: BaseDatabaseWrapper, lease: Lease, failed: FailedAttempt) -> None:
    """Store a failed attempt that is followed by another in the same segment."""
    if _insert(connection, models.FailedAttempt, failure_columns(failed), lease):
        return
    mine = models.FailedAttempt.objects.using(connection.alias).filter(
        run=lease.run_id, fence=lease.fence, key=failed.key, number=failed.number
    )
    if not mine.exists():
        raise lost(lease)


def _insert(
    connection: BaseDatabaseWrapper,
    model: type[Model],
    values: dict[str, Any],
    lease: Lease,
    *,
    stamp: str = "",
) -> bool:
    """Insert a row of the run if the lease holds and the row is new."""
    quote = connection.ops.quote_name
    parameters = [
        cast("Field[Any, Any]", model._meta.get_field(name)).get_db_prep_save(value, connection)
        for name, value in values.items()
    ]
    clock, clock_parameters = clock_sql(connection) if stamp else ("", ())
    columns = ["run_id", *map(quote, values), "fence", *([stamp] if stamp else [])]
    selected = ["id", *["%s"] * len(values), "fence", *([clock] if stamp else [])]
    run_id = models.Run._meta.pk.get_db_prep_value(lease.run_id, connection)
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "
                f"SELECT {', '.join(selected)} FROM {models.Run._meta.db_table} "
                "WHERE id = %s AND fence = %s AND token = %s AND state = 'executing' "
                f"{_TAILS[connection.vendor]}",
                [*parameters, *clock_parameters, run_id, lease.fence, lease.token],
            )
        except IntegrityError:
            # MySQL and MariaDB take back this statement only; a transaction goes on.
            return False
        return bool(cursor.rowcount)


_TAILS = {
    "postgresql": "FOR NO KEY UPDATE ON CONFLICT DO NOTHING",
    "mysql": "FOR UPDATE",
    "sqlite": "ON CONFLICT DO NOTHING",
}
