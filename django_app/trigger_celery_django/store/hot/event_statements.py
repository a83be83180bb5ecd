"""The PostgreSQL statements of an event: storing it, finding whom it concerns, and waking them.

What is written after the event itself does not wait for the disk: if the server crashes before
it is there, so is nothing that was written later, and the event counts as not matched. Then
the sweep matches it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from trigger_celery.records import Audience, Candidate, StepKind, Subscription
from trigger_celery_django import models
from trigger_celery_django.store.hot.statements import NOTE, RUN, SHAPE, WAIT

EVENT = models.Event._meta.db_table
SUBSCRIPTION = models.Subscription._meta.db_table

_UNHURRIED = "set_config('synchronous_commit', 'off', true)"

ADD = f"""
INSERT INTO {EVENT} (source, event_id, name, payload, received_at)
VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT DO NOTHING
RETURNING sequence, received_at
"""

MATCHED = f"""
UPDATE {EVENT} SET matched_at = clock_timestamp()
WHERE sequence = %(event)s AND matched_at IS NULL
RETURNING {_UNHURRIED}
"""


_SHAPES = f"""
SELECT 'shape', paths, NULL, NULL, NULL::bigint, NULL::uuid, NULL::uuid
FROM {SHAPE} WHERE name = %s
"""


@cache
def audience(hashes: int, limit: int) -> str:
    """Return the statement that finds whom an event may concern: rows for :func:`audience_of`.

    It takes the event's name twice, and if there are so many hashes these and the name again.
    Each hash is one bounded index scan. Limit and number are written out: of an array, or of
    a limit, that it does not see, the server expects more, and plans anew each time.
    """
    waits = f"""
    UNION ALL (
        SELECT 'wait', w.key, w.filter, w.kind, w.id, w.run_id, w.token_id
        FROM (VALUES {", ".join(["(%s::bigint)"] * hashes)}) AS asked(hash), LATERAL (
            SELECT * FROM {WAIT}
            WHERE match_hash = asked.hash AND name = %s AND state = 'waiting'
            ORDER BY id LIMIT {limit}
        ) AS w
        ORDER BY w.id LIMIT {limit}
    )
    """
    return f"""
    {_SHAPES}
    UNION ALL (
        SELECT 'subscription', task, filter, NULL, NULL, NULL, NULL
        FROM {SUBSCRIPTION} WHERE name = %s ORDER BY task LIMIT {limit}
    )
    {waits if hashes else ""}
    """


def audience_of(name: str, rows: Iterable[tuple[Any, ...]]) -> Audience:
    """Return what the rows of :func:`audience` say."""
    shapes: list[str] = []
    subscriptions: list[Subscription] = []
    candidates: list[Candidate] = []
    for what, first, text, kind, wait_id, run_id, token_id in rows:
        if what == "shape":
            shapes.append(first)
        elif what == "subscription":
            subscriptions.append(Subscription(task=first, name=name, filter=text))
        else:
            candidates.append(
                Candidate(
                    wait_id=wait_id,
                    run_id=run_id,
                    key=first,
                    name=name,
                    filter=text,
                    kind=StepKind(kind),
                    token_id=token_id,
                )
            )
    subscriptions.sort(key=lambda each: each.task)
    candidates.sort(key=lambda each: each.wait_id)
    return Audience(shapes=shapes, subscriptions=subscriptions, candidates=candidates)


_RESOLVE = f"""
WITH locked AS MATERIALIZED (
    SELECT id FROM {RUN} WHERE id IN (
        SELECT run_id FROM {WAIT} WHERE id = ANY(%(ids)s::bigint[]) AND state = 'waiting'
    )
    ORDER BY id FOR NO KEY UPDATE
), still_open AS MATERIALIZED (
    SELECT w.id, w.run_id FROM locked JOIN {WAIT} AS w ON w.run_id = locked.id
    WHERE w.id = ANY(%(ids)s::bigint[]) AND w.state = 'waiting'
    FOR UPDATE OF w
), chosen AS (
    SELECT min(id) AS id FROM still_open WHERE NOT EXISTS (
        SELECT 1 FROM {WAIT} AS t WHERE t.run_id = still_open.run_id AND t.event_id = %(event)s
    )
    GROUP BY run_id
), taken AS (
    UPDATE {WAIT} AS w SET state = 'event', event_id = %(event)s, resolved_at = clock_timestamp()
    FROM chosen WHERE w.id = chosen.id
    RETURNING w.run_id, w.key
), woken AS (
    UPDATE {RUN} AS run SET
        state = 'queued', worker = '', available_at = clock_timestamp(),
        due_at = clock_timestamp() + %(nudge_interval)s::interval
    FROM taken WHERE run.id = taken.run_id AND run.state = 'suspended'
    RETURNING run.id, run.task, run.canvas, run.fence, taken.key
), noted AS (
    {NOTE}
    SELECT id, clock_timestamp(), 'wake', 'queued', fence, '',
        json_build_object('key', key)::text
    FROM woken
)
"""


@cache
def resolve(*, matched: bool) -> str:
    """Return the statement that ends waits with an event, and notes that it was matched.

    See ``wait_statements`` for why the waits are read FOR UPDATE.
    """
    note = f"""
, seen AS (
    UPDATE {EVENT} SET matched_at = clock_timestamp()
    WHERE sequence = %(event)s AND matched_at IS NULL
)"""
    return f"""{_RESOLVE}{note if matched else ""}
SELECT id, task, canvas, {_UNHURRIED} FROM woken ORDER BY id
"""
