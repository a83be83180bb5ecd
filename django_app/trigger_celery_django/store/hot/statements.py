"""The PostgreSQL statements of runs and checkpoints, one round trip and one commit each.

A common table expression does not see what another one wrote, so rows travel between
them by RETURNING.
"""

from __future__ import annotations

from functools import cache

from trigger_celery.states import TERMINAL
from trigger_celery_django import models
from trigger_celery_django.store.rows import RUN_COLUMNS

RUN = models.Run._meta.db_table
HISTORY = models.History._meta.db_table
CHECKPOINT = models.Checkpoint._meta.db_table
FAILED = models.FailedAttempt._meta.db_table
WAIT = models.Wait._meta.db_table
SHAPE = models.WaitShape._meta.db_table
LETTER = models.DeadLetter._meta.db_table

_COLUMNS = ", ".join(RUN_COLUMNS)
_TERMINAL = ", ".join(f"'{state}'" for state in sorted(TERMINAL))
HELD = "id = %(run_id)s AND fence = %(fence)s AND state = 'executing'"
NOTE = f"INSERT INTO {HISTORY} (run_id, at, verb, state, fence, worker, data)"
_SPAN = "started_at, ended_at, cpu_us, peak_memory, queries, worker, source"
_SPAN_VALUES = (
    "%(started_at)s::timestamptz, %(ended_at)s::timestamptz, %(cpu_us)s, "
    "%(peak_memory)s, %(queries)s, %(worker)s, %(source)s"
)

CREATE = f"""
WITH given AS (
    SELECT n.*, coalesce(n.start, clock.now + n.delay) AS available, clock.now
    FROM unnest(
        %(ids)s::uuid[], %(tasks)s::text[], %(inputs)s::text[], %(canvases)s::text[],
        %(delays)s::interval[], %(starts)s::timestamptz[], %(max_crashes)s::int[]
    ) AS n(id, task, input, canvas, delay, start, max_crashes),
    (SELECT clock_timestamp() AS now OFFSET 0) AS clock
), created AS (
    INSERT INTO {RUN} (
        id, task, state, input, canvas, version, attempt, crashes, max_crashes, fence,
        attempts_after_fence, worker, token, lease_length, created_at, available_at, due_at
    )
    SELECT id, task, 'queued', input, canvas, '', 1, 0, max_crashes, 0,
        0, '', '', interval '0', now, available,
        CASE WHEN available > now THEN available ELSE now + %(nudge_interval)s::interval END
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING id
)
{NOTE}
SELECT id, clock_timestamp(), 'trigger', 'queued', 0, '', '{{}}' FROM created
RETURNING run_id
"""

CLAIM = f"""
WITH owned AS (
    UPDATE {RUN} SET
        fence = fence + 1, worker = %(worker)s, token = %(token)s,
        lease_length = %(length)s::interval,
        due_at = clock_timestamp() + %(length)s::interval,
        version = CASE state WHEN 'queued' THEN %(version)s ELSE version END,
        started_at = CASE state WHEN 'queued' THEN coalesce(started_at, clock_timestamp())
            ELSE started_at END,
        state = CASE state WHEN 'queued' THEN 'executing' ELSE state END
    WHERE id = %(run_id)s AND task = %(task)s AND (
        state = 'queued' AND available_at <= clock_timestamp()
        OR state IN ({_TERMINAL}) AND published_at IS NULL
            AND (worker = '' OR due_at <= clock_timestamp())
    )
    RETURNING {_COLUMNS}
), noted AS (
    {NOTE}
    SELECT id, clock_timestamp(), CASE state WHEN 'executing' THEN 'claim' ELSE 'publish' END,
        state, fence, worker, '{{}}'
    FROM owned
)
SELECT {_COLUMNS}, due_at - %(length)s::interval FROM owned
"""

CLAIMED = f"""
SELECT {_COLUMNS}, due_at - lease_length FROM {RUN}
WHERE id = %(run_id)s AND task = %(task)s AND token = %(token)s
    AND (state = 'executing' OR state IN ({_TERMINAL}) AND published_at IS NULL)
"""

RENEW = f"""
UPDATE {RUN} AS run SET due_at = clock_timestamp() + run.lease_length
FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[]) AS held(id, fence)
WHERE run.id = held.id AND run.fence = held.fence AND run.state = 'executing'
RETURNING run.id, run.fence
"""

PUBLISHED = f"""
UPDATE {RUN} SET published_at = clock_timestamp(), due_at = NULL
WHERE id = %(run_id)s AND fence = %(fence)s AND state IN ({_TERMINAL}) AND published_at IS NULL
"""

RECORD = f"""
INSERT INTO {CHECKPOINT} (
    run_id, key, kind, value, position, attempt, {_SPAN}, token, fence, recorded_at
)
SELECT id, %s, %s, %s, %s, %s, %s::timestamptz, %s::timestamptz, %s, %s, %s, %s, %s,
    %s, fence, clock_timestamp()
FROM {RUN} WHERE id = %s AND fence = %s AND state = 'executing' FOR NO KEY UPDATE
ON CONFLICT DO NOTHING
"""

RECORDED = f"SELECT 1 FROM {CHECKPOINT} WHERE run_id = %s AND key = %s AND token = %s"


def insert_failed(source: str) -> str:
    """Return the start of the statement that stores a failed attempt of the run in ``source``."""
    return f"""
    INSERT INTO {FAILED} (run_id, key, run_attempt, number, error, fence, {_SPAN})
    SELECT id, %(key)s, %(run_attempt)s, %(number)s, %(failure)s, fence, {_SPAN_VALUES}
    FROM {source}
    """


RECORD_FAILURE = f"""
{insert_failed(f"{RUN} WHERE {HELD} FOR NO KEY UPDATE")}
ON CONFLICT DO NOTHING
"""

FAILURE_RECORDED = f"""
SELECT 1 FROM {FAILED}
WHERE run_id = %(run_id)s AND fence = %(fence)s AND key = %(key)s AND number = %(number)s
"""

SETTLED = f"""
SELECT state FROM {RUN} WHERE id = %(run_id)s AND fence = %(fence)s AND token = %(token)s
"""


@cache
def end(*, letter: bool, failed: bool) -> str:
    """Return the statement that ends a run, with a dead letter and a last failed attempt."""
    parts = [
        f"""
    WITH moved AS (
        UPDATE {RUN} SET
            state = %(state)s, output = %(output)s, error = %(error)s, token = %(token)s,
            finished_at = clock_timestamp(),
            published_at = CASE WHEN NOT %(publish)s THEN clock_timestamp() END,
            due_at = CASE WHEN %(publish)s THEN clock_timestamp() + %(within)s::interval END
        WHERE {HELD}
        RETURNING id, state, fence, worker
    )""",
        f"""
    canceled AS (
        UPDATE {WAIT} AS w SET state = 'canceled', resolved_at = clock_timestamp()
        FROM moved WHERE w.run_id = moved.id AND w.state = 'waiting'
    )""",
    ]
    if letter:
        parts.append(f"""
    letter AS (
        INSERT INTO {LETTER} (run_id, state, fingerprint, created_at)
        SELECT id, 'open', %(fingerprint)s, clock_timestamp() FROM moved
        ON CONFLICT (run_id) DO UPDATE SET state = 'open', resolved_at = NULL,
            fingerprint = excluded.fingerprint, created_at = excluded.created_at
    )""")
    if failed:
        parts.append(f"attempt AS ({insert_failed('moved')} ON CONFLICT DO NOTHING)")
    return (
        ",".join(parts)
        + f"""
    {NOTE}
    SELECT id, clock_timestamp(), %(verb)s, state, fence, worker, '{{}}' FROM moved
    """
    )
