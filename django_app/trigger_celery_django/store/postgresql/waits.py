"""The PostgreSQL statements of suspending a run and of waking it, one round trip each.

At READ COMMITTED a statement that waited for a row lock sees that row's newest version
but all other rows as they were when it began: waits, which a rival may have changed under
the same run's lock, are therefore read FOR UPDATE, which refreshes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from trigger_celery.vocabulary.records import LOOKED_FOR, NewWait
from trigger_celery_django.store.common.rows import shape_digest
from trigger_celery_django.store.postgresql.runs import HELD, NOTE, RUN, SHAPE, WAIT, insert_failed

_HOLD = f"""
WITH held AS MATERIALIZED (
    SELECT id, fence, worker FROM {RUN} WHERE {HELD} FOR NO KEY UPDATE
),
"""
_MOVE = f"""
known AS MATERIALIZED (
    SELECT w.key, w.state, w.due_at, w.looked FROM held JOIN {WAIT} AS w ON w.run_id = held.id
    WHERE w.state = 'waiting' OR w.key = ANY(%(awaited)s::text[])
    FOR UPDATE OF w
), shaped AS (
    INSERT INTO {SHAPE} (digest, name, paths)
    SELECT * FROM unnest(%(digests)s::text[], %(shape_names)s::text[], %(shapes)s::text[])
    WHERE EXISTS (SELECT 1 FROM held) ORDER BY 1
    ON CONFLICT DO NOTHING
), added AS (
    INSERT INTO {WAIT} (
        run_id, key, kind, state, position, name, filter, paths, match_hash, token_id,
        due_at, created_at, source, looked
    )
    SELECT held.id, n.key, n.kind, 'waiting', n.position, n.name, n.filter, n.paths,
        n.match_hash, n.token_id, coalesce(n.until, clock_timestamp() + n.delay),
        clock_timestamp(), n.source, n.kind <> ALL(%(looked_for)s::text[])
    FROM held, unnest(
        %(keys)s::text[], %(kinds)s::text[], %(positions)s::bigint[], %(names)s::text[],
        %(filters)s::text[], %(paths)s::text[], %(hashes)s::bigint[], %(tokens)s::uuid[],
        %(delays)s::interval[], %(untils)s::timestamptz[], %(sources)s::text[]
    ) AS n(key, kind, position, name, filter, paths, match_hash, token_id, delay, until, source)
    ON CONFLICT (run_id, key) DO NOTHING
    RETURNING due_at, looked
), outlook AS (
    SELECT
        EXISTS (
            SELECT 1 FROM known WHERE state <> 'waiting' AND key = ANY(%(awaited)s::text[])
        ) AS ended,
        EXISTS (
            SELECT 1 FROM known WHERE state = 'waiting' AND NOT looked
            UNION ALL SELECT 1 FROM added WHERE NOT looked
        ) AS unlooked,
        least(
            (SELECT min(due_at) FROM known WHERE state = 'waiting'),
            (SELECT min(due_at) FROM added)
        ) AS first_due
), moved AS (
    UPDATE {RUN} AS run SET
        state = CASE WHEN o.ended THEN 'queued' ELSE 'suspended' END,
        attempt = %(next_attempt)s, crashes = 0, token = %(token)s,
        worker = CASE WHEN o.ended THEN '' ELSE run.worker END,
        available_at = CASE WHEN o.ended THEN clock_timestamp() ELSE run.available_at END,
        due_at = CASE WHEN o.ended THEN clock_timestamp() + %(nudge_interval)s::interval
            WHEN o.unlooked THEN clock_timestamp() + %(look_within)s::interval
            ELSE o.first_due END
    FROM held, outlook AS o WHERE run.id = held.id
    RETURNING run.id, run.state, run.fence, held.worker
), noted AS (
    {NOTE}
    SELECT id, clock_timestamp(), step.verb, step.state, fence,
        CASE step.place WHEN 1 THEN worker ELSE '' END, '{{}}'
    FROM moved JOIN (VALUES (1, 'suspend', 'suspended'), (2, 'wake', 'queued'))
        AS step(place, verb, state) ON step.place = 1 OR moved.state = 'queued'
    ORDER BY step.place
)
SELECT state FROM moved
"""


@cache
def suspend(*, failed: bool) -> str:
    """Return the statement that adds waits and suspends a run, or queues it if one has ended.

    Waits of earlier segments may be ended by an event at this moment: its sender
    holds the run's lock, so they are read after it and FOR UPDATE.
    """
    attempt = f"attempt AS ({insert_failed('held')} ON CONFLICT DO NOTHING)," if failed else ""
    return f"{_HOLD} {attempt} {_MOVE}"


LOOKED = f"""
WITH held AS MATERIALIZED (
    SELECT id FROM {RUN}
    WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'suspended' FOR NO KEY UPDATE
), seen AS (
    UPDATE {WAIT} AS w SET looked = true
    FROM held WHERE w.run_id = held.id AND w.state = 'waiting' AND NOT w.looked
)
UPDATE {RUN} AS run SET due_at = (
    SELECT min(w.due_at) FROM {WAIT} AS w WHERE w.run_id = run.id AND w.state = 'waiting'
)
FROM held WHERE run.id = held.id
"""


def wait_parameters(waits: Sequence[NewWait]) -> dict[str, object]:
    """Return the columns of new waits, and the shapes of their filters."""
    shapes = {shape_digest(wait.name, wait.paths): wait for wait in waits if wait.name}
    return {
        "keys": [wait.key for wait in waits],
        "kinds": [wait.kind.value for wait in waits],
        "positions": [wait.position for wait in waits],
        "names": [wait.name for wait in waits],
        "filters": [wait.filter for wait in waits],
        "paths": [wait.paths for wait in waits],
        "hashes": [wait.match_hash for wait in waits],
        "tokens": [wait.token_id for wait in waits],
        "delays": [wait.delay for wait in waits],
        "untils": [wait.until for wait in waits],
        "sources": [wait.source for wait in waits],
        "looked_for": [kind.value for kind in LOOKED_FOR],
        "digests": list(shapes),
        "shape_names": [wait.name for wait in shapes.values()],
        "shapes": [wait.paths for wait in shapes.values()],
    }
