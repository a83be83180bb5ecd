"""The rows of new runs, where no statement of ours makes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Created, NewRun, Standing, line_of
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import aware, clock_sql, insert, noted, run_columns
from trigger_celery_django.store.queues import slots

_QUEUE = models.DurableQueue._meta.db_table
_EVENT = models.Event._meta.db_table


def create(guard: Guard, runs: Sequence[NewRun]) -> Created:
    """Insert queued runs in the caller's transaction; return the ids that were new."""
    if not runs:
        return Created()
    alias, token = guard.alias, new_token()
    news = {run.id: run for run in runs}
    gates = {run.id: _standing(run).gates for run in news.values()}
    now, last_event, limited = _surroundings(
        guard.connection, {name for at in gates.values() for name in at}
    )
    runs_as_created = [
        lifecycle.create(
            run,
            now,
            nudge_interval=config().nudge_interval,
            last_event=last_event,
            limited=not limited.isdisjoint(gates[run.id]),
        )
        for run in news.values()
    ]
    rows = [models.Run(**run_columns(run), token=token) for run in runs_as_created]
    insert(alias, rows, ignore_conflicts=True)
    # Not every database returns which rows it inserted: they are those with our token.
    mine = models.Run.objects.using(alias).filter(pk__in=[run.id for run in runs], token=token)
    created = set(mine.values_list("pk", flat=True))
    insert(alias, [noted(row, "trigger") for row in rows if row.pk in created])
    new = [row for row in rows if row.pk in created and row.due_at is None]
    placed = [slots.slot_of(row, fence=None) for row in new]
    insert(alias, placed)
    lines = {slot.run_id: slot.queue for slot in placed}
    return Created(created).standing(lines) if lines else Created(created)


def _surroundings(
    connection: BaseDatabaseWrapper, names: Collection[str]
) -> tuple[datetime, int, set[str]]:
    """Return the time, the last event's sequence and which of these queues are limited.

    In one statement, before the insert: one that read the events would lock them on MariaDB.
    """
    clock, parameters = clock_sql(connection)
    marks = ", ".join(["%s"] * len(names))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {clock}, (SELECT MAX(sequence) FROM {_EVENT}), gate.name "
            "FROM (SELECT 1 AS one) AS always "
            f"LEFT JOIN {_QUEUE} AS gate ON gate.limited AND gate.name IN ({marks})",
            [*parameters, *names],
        )
        rows = cursor.fetchall()
    now, last_event, _ = rows[0]
    return aware(now), last_event or 0, {name for *_, name in rows if name is not None}


def _standing(run: NewRun) -> Standing:
    return Standing(
        run_id=run.id,
        queue=line_of(run.queue, run.task),
        key=run.concurrency_key,
        task=run.task,
        starts=True,
    )
