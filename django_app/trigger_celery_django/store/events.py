"""Events received."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery.records import Event, NewEvent
from trigger_celery_django import models
from trigger_celery_django.store import counting
from trigger_celery_django.store.guard import Guard
from trigger_celery_django.store.rows import check_length, event_record
from trigger_celery_django.store.times import DatabaseNow, read_now

_INSERT = f"INSERT INTO {models.Event._meta.db_table} (event_id, name, payload, received_at)"


class DjangoEvents:
    """Implements :class:`trigger_celery.ports.Events`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alias = guard.alias

    def add(self, event: NewEvent) -> Event | None:
        """Store it in the caller's transaction; None if its id is stored already.

        Errors of the database stay Django's own here: the transaction is the caller's.
        """
        check_length("event id", event.id)
        check_length("event name", event.name)
        connection = self._guard.connection
        insert = _insert_returning if connection.vendor == "postgresql" else _insert
        with counting.paused:
            inserted = insert(connection, event)
        if inserted is None:
            return None
        sequence, received_at = inserted
        return Event(
            sequence=sequence,
            id=event.id,
            name=event.name,
            payload=event.payload,
            received_at=received_at,
        )

    def matched(self, sequence: int) -> None:
        """Note that all waits open so far were compared with this event."""
        unmatched = models.Event.objects.using(self._alias).filter(pk=sequence, matched_at=None)
        self._guard.statement(lambda _: unmatched.update(matched_at=DatabaseNow()))

    def unmatched(self, *, older_than: timedelta, limit: int) -> Sequence[Event]:
        """Return events that are not noted as matched though received so long ago."""
        events = models.Event.objects.using(self._alias).filter(
            matched_at=None, received_at__lte=DatabaseNow() - older_than
        )
        rows = self._guard.read(lambda: list(events.order_by("sequence")[:limit]))
        return [event_record(row) for row in rows]


def _insert_returning(
    connection: BaseDatabaseWrapper, event: NewEvent
) -> tuple[int, datetime] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_INSERT} VALUES (%s, %s, %s, clock_timestamp()) "
            "ON CONFLICT DO NOTHING RETURNING sequence, received_at",
            [event.id, event.name, event.payload],
        )
        row: tuple[int, datetime] | None = cursor.fetchone()
        return row


def _insert(connection: BaseDatabaseWrapper, event: NewEvent) -> tuple[int, datetime] | None:
    now = read_now(connection)
    stored = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                f"{_INSERT} VALUES (%s, %s, %s, %s)", [event.id, event.name, event.payload, stored]
            )
        except IntegrityError:
            # SQLite, MySQL and MariaDB take back this statement only; a transaction goes on.
            return None
        return cursor.lastrowid, now
