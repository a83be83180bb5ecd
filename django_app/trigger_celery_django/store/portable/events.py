"""Storing an event, and noting that it was matched, on every database."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery.vocabulary.records import NewEvent
from trigger_celery_django import models
from trigger_celery_django.store.common.times import DatabaseNow, read_now

_INSERT = (
    f"INSERT INTO {models.Event._meta.db_table} (source, event_id, name, payload, received_at)"
)
INSERT_RETURNING = f"""
{_INSERT} VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT DO NOTHING
RETURNING sequence, received_at
"""
"""PostgreSQL's: there an insert that fails would take the caller's transaction along."""


def add(connection: BaseDatabaseWrapper, event: NewEvent) -> tuple[int, datetime] | None:
    """Store it in the caller's transaction; return its sequence number and its time."""
    mine = [event.source, event.id, event.name, event.payload]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(INSERT_RETURNING, mine)
            row: tuple[int, datetime] | None = cursor.fetchone()
            return row
    now = read_now(connection)
    stored = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"{_INSERT} VALUES (%s, %s, %s, %s, %s)", [*mine, stored])
        except IntegrityError:
            # SQLite, MySQL and MariaDB take back this statement only; a transaction goes on.
            return None
        return cursor.lastrowid, now


def matched(alias: str, sequence: int) -> None:
    """Note that all waits open so far were compared with this event."""
    events = models.Event.objects.using(alias).filter(pk=sequence, matched_at=None)
    events.update(matched_at=DatabaseNow())
