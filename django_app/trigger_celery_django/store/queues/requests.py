"""Counts requests of one sender, in the table that has the rates of concurrency keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper, F
from django.db.models.functions import Greatest

from trigger_celery.vocabulary.records import Rate
from trigger_celery_django.models import KeyRate
from trigger_celery_django.store.common.guard import Guard, in_transaction
from trigger_celery_django.store.common.rows import DatabaseNow, aware, read_now

_ALLOWED = timedelta(0)
_TRIES = 5
"""A try is in vain if a cleanup deletes the row in between, or its time comes just then."""
_RATE = KeyRate._meta.db_table

# A statement that waited for the row judges it as it is then, by the time at which it began itself.
_COUNT = f"""
INSERT INTO {_RATE} AS rate (queue, key, due_at)
VALUES (%(queue)s, %(sender)s, statement_timestamp() + %(interval)s)
ON CONFLICT (queue, key) DO UPDATE
SET due_at = greatest(rate.due_at, statement_timestamp()) + %(interval)s
WHERE rate.due_at <= statement_timestamp() + %(tolerance)s
RETURNING id"""
_UNHURRIED = ", set_config('synchronous_commit', 'off', true)"
"""Only where nothing else commits with it: what is lost with the server is a count."""


def count_request(guard: Guard, queue: str, sender: str, rate: Rate) -> timedelta:
    """Implements ``Queues.count_request``; one statement for a request that is allowed."""
    count = _upsert if guard.connection.vendor == "postgresql" else _update

    def work() -> timedelta:
        for _ in range(_TRIES):
            if count(guard, queue, sender, rate):
                return _ALLOWED
            wait = _wait(guard, queue, sender, rate)
            if wait > _ALLOWED:
                return wait
        return rate.interval

    return guard.joining(work)


def _upsert(guard: Guard, queue: str, sender: str, rate: Rate) -> bool:
    given: dict[str, Any] = {
        "queue": queue,
        "sender": sender,
        "interval": rate.interval,
        "tolerance": rate.tolerance,
    }
    alone = not in_transaction(guard.connection)
    with guard.connection.cursor() as cursor:
        cursor.execute(_COUNT + (_UNHURRIED if alone else ""), given)
        return cursor.fetchone() is not None


def _update(guard: Guard, queue: str, sender: str, rate: Rate) -> bool:
    rows = KeyRate.objects.using(guard.alias).filter(queue=queue, key=sender)
    after = Greatest(F("due_at"), DatabaseNow()) + rate.interval
    allowed = rows.filter(due_at__lte=DatabaseNow() + rate.tolerance)
    return bool(allowed.update(due_at=ExpressionWrapper(after, DateTimeField())))


def _wait(guard: Guard, queue: str, sender: str, rate: Rate) -> timedelta:
    """Return how long until the next is allowed; of an unknown sender a row is there then."""
    rows = KeyRate.objects.using(guard.alias)
    due = rows.filter(queue=queue, key=sender).values_list("due_at", flat=True).first()
    if due is None:
        new = KeyRate(queue=queue, key=sender, due_at=DatabaseNow())
        rows.bulk_create([new], ignore_conflicts=True)
        return _ALLOWED
    return aware(due) - rate.tolerance - read_now(guard.connection)
