"""The PostgreSQL statements of runs and checkpoints, one round trip and one commit each.

A common table expression does not see what another one wrote, so rows travel between
them by RETURNING.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from trigger_celery.vocabulary.records import (
    EVERYTHING,
    OF_TASK,
    Cause,
    Checkpoint,
    FailedAttempt,
    Lease,
)
from trigger_celery.vocabulary.states import TERMINAL
from trigger_celery_django import models
from trigger_celery_django.store.common.dead_letters import cause_columns
from trigger_celery_django.store.common.rows import RUN_COLUMNS, span_columns

_MICROSECOND = timedelta(microseconds=1)
RUN = models.Run._meta.db_table
HISTORY = models.History._meta.db_table
EVENT = models.Event._meta.db_table
CHECKPOINT = models.Checkpoint._meta.db_table
FAILED = models.FailedAttempt._meta.db_table
WAIT = models.Wait._meta.db_table
SHAPE = models.WaitShape._meta.db_table
DEAD_LETTER = models.DeadLetter._meta.db_table
QUEUE = models.DurableQueue._meta.db_table
SLOT = models.Slot._meta.db_table

COLUMNS = ", ".join(RUN_COLUMNS)
TERMINAL_STATES = ", ".join(f"'{state}'" for state in sorted(TERMINAL))
HELD = "id = %(run_id)s AND fence = %(fence)s AND token = %(holder)s AND state = 'executing'"
NOTE = f"INSERT INTO {HISTORY} (run_id, at, verb, state, fence, worker, data)"
_SPAN = "started_at, ended_at, cpu_us, peak_memory, queries, worker, source"
_SPAN_VALUES = (
    "%(started_at)s::timestamptz, %(ended_at)s::timestamptz, %(cpu_us)s, "
    "%(peak_memory)s, %(queries)s, %(worker)s, %(source)s"
)


def slot_queue(run: str) -> str:
    """Return the expression for the queue whose slots a run takes."""
    return f"coalesce(nullif({run}.queue, ''), '{OF_TASK}' || {run}.task)"


def limited(run: str, task: str) -> str:
    """Return the source of the names of limited queues that a run of the task meets."""
    return f"""{QUEUE} AS gate WHERE gate.limited
            AND gate.name IN ('{EVERYTHING}', '{OF_TASK}' || {task}, {run}.queue)"""


RENEW = f"""
UPDATE {RUN} AS run SET due_at = clock_timestamp() + run.lease_length
FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[], %(holders)s::text[])
    AS held(id, fence, token)
WHERE run.id = held.id AND run.fence = held.fence AND run.token = held.token
    AND run.state = 'executing'
RETURNING run.id, run.fence, run.token, run.paused_at IS NOT NULL
"""

PUBLISHED = f"""
UPDATE {RUN} SET published_at = clock_timestamp(), due_at = NULL
WHERE id = %(run_id)s AND fence = %(fence)s
    AND state IN ({TERMINAL_STATES}) AND published_at IS NULL
"""

RECORD = f"""
INSERT INTO {CHECKPOINT} (
    run_id, key, kind, value, position, attempt, {_SPAN}, token, fence, recorded_at
)
SELECT id, %s, %s, %s, %s, %s, %s::timestamptz, %s::timestamptz, %s, %s, %s, %s, %s,
    %s, fence, clock_timestamp()
FROM {RUN} WHERE id = %s AND fence = %s AND token = %s AND state = 'executing'
FOR NO KEY UPDATE
ON CONFLICT DO NOTHING
"""

RECORDED = f"SELECT 1 FROM {CHECKPOINT} WHERE run_id = %s AND key = %s AND token = %s"


def insert_failed(source: str) -> str:
    """Return the start of the statement that stores a failed attempt of the run in ``source``."""
    return f"""
    INSERT INTO {FAILED} (
        run_id, key, run_attempt, number, error, kind, position, holds, raised, fence, {_SPAN}
    )
    SELECT id, %(key)s, %(run_attempt)s, %(number)s, %(failure)s, %(kind)s, %(position)s,
        %(holds)s, %(raised)s, fence, {_SPAN_VALUES}
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


_OPEN_DEAD_LETTER = f"""
    letter AS (
        INSERT INTO {DEAD_LETTER} AS d (
            run_id, task, queue, state, fingerprint, kind, message, step, place, error, attempts,
            crashes, returns, first_seen_at, last_seen_at, by, reason, tallied, counted_group,
            counted_state, counted_seen
        )
        SELECT id, task, queue, 'open', %(fingerprint)s, %(error_kind)s, %(message)s, %(step)s,
            %(place)s, coalesce(%(error)s, ''), attempt, crashes, 0, clock_timestamp(),
            clock_timestamp(), '', '', false, '', '', 0
        FROM moved
        ON CONFLICT (run_id) DO UPDATE SET state = 'open', queue = excluded.queue,
            fingerprint = excluded.fingerprint, kind = excluded.kind, message = excluded.message,
            step = excluded.step, place = excluded.place, error = excluded.error,
            attempts = excluded.attempts, crashes = excluded.crashes, returns = d.returns + 1,
            last_seen_at = excluded.last_seen_at, settled_at = NULL, by = '', reason = '',
            tallied = false
    )"""

_RESOLVE_DEAD_LETTERS = f"""
    resolved AS (
        UPDATE {DEAD_LETTER} AS d
        SET state = 'resolved', settled_at = clock_timestamp(), tallied = false
        FROM moved WHERE d.run_id = ANY(%(resolves)s) AND d.state = 'retried'
    )"""


@cache
def end(*, dead_letter: bool, failed: bool, resolves: bool) -> str:
    """Return the statement that ends a run.

    With its dead letter, its last failed attempt, and the retried dead letters that it resolves.
    """
    parts = [
        f"""
    WITH moved AS (
        UPDATE {RUN} SET
            state = %(state)s, output = %(output)s, error = %(error)s, token = %(token)s,
            finished_at = clock_timestamp(),
            published_at = CASE WHEN NOT %(publish)s THEN clock_timestamp() END,
            due_at = CASE WHEN %(publish)s THEN clock_timestamp() + %(within)s::interval END,
            deadline_at = NULL
        WHERE {HELD}
        RETURNING id, state, fence, worker{", task, queue, attempt, crashes" if dead_letter else ""}
    )""",
        f"""
    canceled AS (
        UPDATE {WAIT} AS w SET state = 'canceled', resolved_at = clock_timestamp()
        FROM moved WHERE w.run_id = moved.id AND w.state = 'waiting'
    )""",
    ]
    if dead_letter:
        parts.append(_OPEN_DEAD_LETTER)
    if resolves:
        parts.append(_RESOLVE_DEAD_LETTERS)
    if failed:
        parts.append(f"attempt AS ({insert_failed('moved')} ON CONFLICT DO NOTHING)")
    return (
        ",".join(parts)
        + f"""
    {NOTE}
    SELECT id, clock_timestamp(), %(verb)s, state, fence, worker, '{{}}' FROM moved
    """
    )


def step_parameters(lease: Lease, checkpoint: Checkpoint) -> tuple[object, ...]:
    """Return what ``RECORD`` takes, in its order: this is the statement that runs most."""
    span = checkpoint.span
    return (
        checkpoint.key,
        checkpoint.kind.value,
        checkpoint.value,
        checkpoint.position,
        checkpoint.attempt,
        span.started_at,
        span.ended_at,
        span.cpu // _MICROSECOND,
        span.peak_memory,
        span.queries,
        span.worker,
        span.source,
        checkpoint.token,
        lease.run_id,
        lease.fence,
        lease.token,
    )


def cause_parameters(cause: Cause) -> dict[str, object]:
    """Return what a dead letter says of its cause; an attempt has a ``kind`` of its own."""
    columns = cause_columns(cause)
    return {**columns, "error_kind": columns.pop("kind")}


def failure_parameters(failed: FailedAttempt | None) -> dict[str, object]:
    """Return the columns of a failed attempt; nothing for none."""
    if failed is None:
        return {}
    return {
        "key": failed.key,
        "run_attempt": failed.run_attempt,
        "number": failed.number,
        "failure": failed.error,
        "kind": failed.kind.value,
        "position": failed.position,
        "holds": failed.holds.value,
        "raised": failed.raised,
        **span_columns(failed.span),
    }
