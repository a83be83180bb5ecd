"""What a replay needs of a run, in one query on every database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery.vocabulary.records import Holds, Outcome, Outcomes, StepKind, StoredEvent
from trigger_celery.vocabulary.states import WaitState
from trigger_celery_django import models
from trigger_celery_django.store.common.rows import aware

# Columns that are reserved words somewhere are qualified: then MySQL takes them unquoted.
# It gives the positions of a union as decimals.
LOAD = f"""
SELECT c.key, c.kind, c.position, c.value, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0
FROM {models.Checkpoint._meta.db_table} c WHERE c.run_id = %s
UNION ALL
SELECT w.key, w.kind, w.position, w.value, w.state,
    e.sequence, e.event_id, e.name, e.payload, e.received_at, e.source, 0
FROM {models.Wait._meta.db_table} w
LEFT JOIN {models.Event._meta.db_table} e ON e.sequence = w.event_id
WHERE w.run_id = %s
UNION ALL
SELECT f.key, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*)
FROM {models.FailedAttempt._meta.db_table} f
JOIN {models.Run._meta.db_table} r ON r.id = f.run_id
WHERE f.run_id = %s AND f.fence > r.attempts_after_fence AND f.key <> ''
GROUP BY f.key
UNION ALL
SELECT f.key, f.kind, f.position, f.raised, f.holds, NULL, NULL, NULL, f.error, NULL, NULL, -1
FROM {models.FailedAttempt._meta.db_table} f
JOIN {models.Run._meta.db_table} r ON r.id = f.run_id
WHERE f.run_id = %s AND (f.holds = 'always' OR f.fence > r.attempts_after_fence
    AND (f.holds = 'life' OR f.holds = 'attempt' AND f.run_attempt = %s))
"""

Row = tuple[Any, ...]


def load(connection: BaseDatabaseWrapper, run_id: UUID, run_attempt: int) -> Outcomes:
    """Return what a segment of this attempt of the run replays, and the counts of failures."""
    key = models.Run._meta.pk.get_db_prep_value(run_id, connection)
    with connection.cursor() as cursor:
        cursor.execute(LOAD, [key, key, key, key, run_attempt])
        return outcomes_of(cursor.fetchall())


def outcomes_of(rows: Iterable[Row]) -> Outcomes:
    """Return what the rows of ``LOAD`` say."""
    recorded: dict[str, Outcome] = {}
    failures: dict[str, int] = {}
    for row in rows:
        if row[11] < 0:
            recorded.setdefault(row[0], _failure(row))
        elif row[11]:
            failures[row[0]] = row[11]
        elif row[4] is not None:
            recorded[row[0]] = _wait(row)
        else:
            recorded[row[0]] = Outcome(
                key=row[0], kind=StepKind(row[1]), position=int(row[2]), value=row[3]
            )
    return Outcomes(recorded=recorded, failures=failures)


def _failure(row: Row) -> Outcome:
    return Outcome(
        key=row[0],
        kind=StepKind(row[1]),
        position=int(row[2]),
        value=row[3],
        error=row[8],
        holds=Holds(row[4]),
    )


def _wait(row: Row) -> Outcome:
    return Outcome(
        key=row[0],
        kind=StepKind(row[1]),
        position=int(row[2]),
        value=row[3],
        wait=WaitState(row[4]),
        event=None if row[5] is None else _event(*row[5:11]),
    )


def _event(
    sequence: int, event_id: str, name: str, payload: str, received_at: datetime | str, source: str
) -> StoredEvent:
    return StoredEvent(
        sequence=sequence,
        id=event_id,
        name=name,
        payload=payload,
        received_at=aware(received_at),
        source=source,
    )
