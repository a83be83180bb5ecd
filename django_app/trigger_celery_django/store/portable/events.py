"""Events by the ORM: storing one, and finding what it may concern."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery.vocabulary.records import Audience, Candidate, NewEvent, StepKind, Subscription
from trigger_celery.vocabulary.states import WaitState
from trigger_celery_django import models
from trigger_celery_django.models.querysets import WaitQuerySet
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, read_now


def audience(guard: Guard, name: str, hashes: Sequence[int], limit: int) -> Audience:
    """Return what an event of this name may concern, at most ``limit`` of each."""
    found = candidates(guard, name, hashes, after=0, limit=limit)
    return Audience(
        shapes=shapes(guard, name),
        subscriptions=subscriptions(guard, name, after="", limit=limit),
        candidates=found,
        # Not asked here: the engine asks for what is ahead once a candidate wants the event.
        crowded=bool(found),
    )


def shapes(guard: Guard, name: str) -> Sequence[str]:
    """Return the distinct ``paths`` texts of all waits ever made on this event name."""
    rows = models.WaitShape.objects.using(guard.alias).filter(name=name)
    return guard.read(lambda: sorted(rows.values_list("paths", flat=True)))


def subscriptions(guard: Guard, name: str, *, after: str, limit: int) -> Sequence[Subscription]:
    """Return subscriptions to this event name of tasks after ``after``, by task."""
    rows = models.Subscription.objects.using(guard.alias).filter(name=name, task__gt=after)
    found = guard.read(lambda: list(rows.order_by("task")[:limit]))
    return [Subscription(task=row.task, name=row.name, filter=row.filter) for row in found]


def candidates(
    guard: Guard, name: str, hashes: Sequence[int], *, after: int, limit: int
) -> Sequence[Candidate]:
    """Return open waits with one of these hashes whose id is over ``after``, by id."""
    waits = models.Wait.objects.using(guard.alias).open().filter(name=name, pk__gt=after)
    slices = [waits.filter(match_hash=h).order_by("pk")[:limit] for h in sorted(set(hashes))]
    if not slices:
        return []
    if len(slices) == 1:
        return read(guard, slices[0])
    if guard.connection.features.supports_slicing_ordering_in_compound:
        # One bounded index scan for each hash: a plain IN sorts all that are left of all.
        first, *others = slices
        return read(guard, first.union(*others, all=True).order_by("pk")[:limit])
    return read(guard, waits.filter(match_hash__in=hashes).order_by("pk")[:limit])


_ASKED = {
    "postgresql": "unnest(%s::bigint[]) AS asked(hash)",
    "sqlite": "(SELECT value AS hash FROM json_each(%s)) AS asked",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS(hash BIGINT PATH '$')) AS asked",
}
"""Many numbers in one parameter, as rows."""


def awaited(guard: Guard, name: str, hashes: Sequence[int]) -> Sequence[int]:
    """Return those of the hashes that an open wait on this event name has, in their order."""
    vendor = guard.connection.vendor
    # Of a subquery with a limit no database makes a join, for which it might read all waits.
    statement = f"""
    SELECT asked.hash FROM {_ASKED[vendor]} WHERE (
        SELECT 1 FROM {models.Wait._meta.db_table}
        WHERE match_hash = asked.hash AND name = %s AND state = %s LIMIT 1
    ) IS NOT NULL
    """
    given = list(hashes) if vendor == "postgresql" else json.dumps(list(hashes))

    def ask() -> set[int]:
        with guard.connection.cursor() as cursor:
            cursor.execute(statement, [given, name, WaitState.WAITING.value])
            return {each for (each,) in cursor.fetchall()}

    found = guard.read(ask)
    return [each for each in hashes if each in found]


def read(guard: Guard, waits: WaitQuerySet[models.Wait]) -> list[Candidate]:
    """Return these waits."""
    rows = waits.values_list("pk", "run", "key", "name", "filter", "kind", "token", "looked")
    found = guard.read(lambda: list(rows))
    return [
        Candidate(
            wait_id=wait_id,
            run_id=run_id,
            key=key,
            name=name,
            filter=text,
            kind=StepKind(kind),
            token_id=token_id,
            looked=looked,
        )
        for wait_id, run_id, key, name, text, kind, token_id, looked in found
    ]


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
