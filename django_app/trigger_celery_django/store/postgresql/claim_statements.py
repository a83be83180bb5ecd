"""The PostgreSQL statements of claims.

A run without limits is claimed in one round trip, and one that was promised a slot in one as
well. Of others the queues are locked first, and the next statement, whose snapshot is younger,
counts the holders of slots.
"""

from __future__ import annotations

from functools import cache

from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK
from trigger_celery_django import models
from trigger_celery_django.store.postgresql.runs import (
    COLUMNS,
    NOTE,
    QUEUE,
    RUN,
    SLOT,
    TERMINAL_STATES,
    limited,
    line_of,
)

RATE = models.KeyRate._meta.db_table

_ASKED = "run.id = %(run_id)s AND run.task = %(task)s"
_CLAIMABLE = """run.state = 'queued' AND run.available_at <= clock_timestamp()
        AND run.paused_at IS NULL
        AND (run.deadline_at IS NULL OR run.deadline_at > clock_timestamp())"""
_LIMITED = limited("run", "%(task)s::text")
_OF_RUN = f"""limited AND name IN (
        '{EVERYTHING}', '{OF_TASK}' || %(task)s::text,
        (SELECT run.queue FROM {RUN} AS run WHERE {_ASKED})
    )"""
UNHURRIED = "set_config('synchronous_commit', 'off', true)"


def _own(which: str, *, after: str = "") -> str:
    """Return the start of a statement that owns the run if it is in this state."""
    return f"""
WITH {after}owned AS (
    UPDATE {RUN} AS run SET
        fence = fence + 1, worker = %(worker)s, token = %(token)s,
        lease_length = %(length)s::interval,
        due_at = clock_timestamp() + %(length)s::interval,
        version = CASE state WHEN 'queued' THEN %(version)s ELSE version END,
        started_at = CASE state WHEN 'queued' THEN coalesce(started_at, clock_timestamp())
            ELSE started_at END,
        deadline_at = CASE
            WHEN state <> 'queued' THEN NULL
            WHEN started_at IS NULL OR deadline_at IS NULL
                THEN clock_timestamp() + max_duration
            ELSE deadline_at END,
        state = CASE state WHEN 'queued' THEN 'executing' ELSE state END
    WHERE {_ASKED} AND ({which})
    RETURNING {COLUMNS}
), noted AS (
    {NOTE}
    SELECT id, clock_timestamp(), CASE state WHEN 'executing' THEN 'claim' ELSE 'publish' END,
        state, fence, worker, '{{}}'
    FROM owned
)"""


CLAIM = f"""
{
    _own(f'''{_CLAIMABLE} AND NOT EXISTS (SELECT 1 FROM {_LIMITED})
        OR run.state IN ({TERMINAL_STATES}) AND run.published_at IS NULL
            AND (run.worker = '' OR run.due_at <= clock_timestamp())''')
}
SELECT {COLUMNS}, due_at - %(length)s::interval,
    CASE state WHEN 'executing' THEN {UNHURRIED} END
FROM owned
"""
"""A run that is claimed to be executed is claimed without waiting for the disk.

The run's first write makes the claim durable too. If the server crashes before, the run is
queued still; the worker of the lost claim has a token that no claim after it has. A claim
to publish is waited for: callbacks go out before anything else is written.
"""

CLAIMED = f"""
SELECT {COLUMNS}, due_at - lease_length,
    CASE WHEN EXISTS (
        SELECT 1 FROM {SLOT} AS slot WHERE slot.run_id = run.id AND slot.fence = run.fence
    ) THEN ARRAY(SELECT gate.name FROM {_LIMITED}) END
FROM {RUN} AS run
WHERE {_ASKED} AND (
    run.token = %(token)s
        AND (run.state = 'executing'
            OR run.state IN ({TERMINAL_STATES}) AND run.published_at IS NULL)
    OR {_CLAIMABLE} AND EXISTS (SELECT 1 FROM {_LIMITED})
)
"""
"""Finds what this claim was granted before, or a queued run that needs a slot."""

_PLANNING = {"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"}
BY_INDEX = " || ".join(f"set_config('{name}', '{to}', true)" for name, to in _PLANNING.items())
"""A column after which the statements of a transaction are planned once, to use indexes.

A plan of when the tables were small, or of when they were said to be, would read all of the
line; and PostgreSQL keeps the plans of prepared statements.
"""

USE_INDEXES = f"SELECT {BY_INDEX}"
"""The same for a transaction that has no other statement to do it in."""

LOCK = f"""
SELECT name, declared, overrides, paused_at IS NOT NULL, due_at, {BY_INDEX} FROM {QUEUE}
WHERE {_OF_RUN} ORDER BY name FOR UPDATE
"""

TAKEN = f"""taken AS MATERIALIZED (
    SELECT run_id, queue, key, task, fence, promised_at FROM {SLOT}
    WHERE fence IS NOT NULL
    UNION ALL
    SELECT run_id, queue, key, task, fence, promised_at FROM {SLOT}
    WHERE fence IS NULL AND promised_at IS NOT NULL
)"""
"""All slots that are or were held or promised, of any queue: they have an index to themselves."""

LOOK = f"""
WITH asked AS MATERIALIZED (
    SELECT {line_of("run")} AS line, '{OF_TASK}' || run.task AS own,
        run.concurrency_key AS key, run.started_at IS NULL AS starts,
        EXISTS (SELECT 1 FROM {QUEUE} WHERE name = '{EVERYTHING}' AND limited) AS all_count
    FROM {RUN} AS run WHERE {_ASKED} AND {_CLAIMABLE} FOR NO KEY UPDATE OF run SKIP LOCKED
), {TAKEN}, held AS MATERIALIZED (
    SELECT taken.queue, taken.key, '{OF_TASK}' || taken.task AS own,
        run.state = 'executing' AND run.fence = taken.fence
        OR run.state = 'queued' AND taken.fence IS NULL
            AND taken.promised_at > clock_timestamp() - %(nudge_interval)s::interval AS counts,
        taken.promised_at > clock_timestamp() - %(fresh)s::interval AS fresh
    FROM asked, taken, LATERAL (
        SELECT state, fence FROM {RUN} WHERE id = taken.run_id OFFSET 0
    ) AS run
    WHERE taken.run_id <> %(run_id)s
        AND (asked.all_count OR taken.queue IN (asked.line, asked.own)
            OR '{OF_TASK}' || taken.task IN (asked.line, asked.own))
)
SELECT asked.line, asked.key, asked.starts, clock_timestamp(),
    (SELECT rate.due_at FROM {RATE} AS rate WHERE rate.queue = asked.line
        AND rate.key = asked.key),
    count(*) FILTER (WHERE held.counts),
    count(*) FILTER (WHERE held.counts AND asked.own IN (held.queue, held.own)),
    count(*) FILTER (WHERE held.counts AND asked.line IN (held.queue, held.own)),
    count(*) FILTER (WHERE held.counts AND held.queue = asked.line AND held.key = asked.key),
    count(*) FILTER (WHERE held.counts AND held.fresh AND held.queue = asked.line),
    count(*) FILTER (WHERE NOT held.counts)
FROM asked LEFT JOIN held ON true
GROUP BY asked.line, asked.own, asked.key, asked.starts
"""
"""Returns of a run that can be claimed what it needs, how many hold slots of its queues, how many
were promised one of its line just now, and how many slots mean nothing any more. Slots are found
by their index and runs by their keys: a plan of when the tables were small would read all of
them. A run whose row is locked, which a caller's transaction may do for long, is left to
its next nudge: a claim that waits for it here would hold up the queue."""

_PUT = f"""
    INSERT INTO {SLOT} (run_id, queue, key, task, line_at, fence)"""
_OVER = """
    ON CONFLICT (run_id) DO UPDATE SET queue = excluded.queue, key = excluded.key,
        task = excluded.task, line_at = excluded.line_at, fence = excluded.fence,
        promised_at = NULL"""


_PROMISED = f"""gates AS MATERIALIZED (
    SELECT name, declared, overrides,
        paused_at IS NULL AND strpos(declared || overrides, 'rate') = 0 AS is_plain
    FROM {QUEUE} WHERE {_OF_RUN} ORDER BY name FOR UPDATE
), terms AS MATERIALIZED (
    SELECT array_agg(name) AS names, array_agg(declared) AS declared,
        array_agg(overrides) AS overrides, bool_and(is_plain) AS are_plain,
        clock_timestamp() AS now
    FROM gates
), promised AS MATERIALIZED (
    SELECT 1 FROM {SLOT} AS slot JOIN {RUN} AS run ON run.id = slot.run_id, terms
    WHERE slot.run_id = %(run_id)s AND slot.fence IS NULL AND terms.are_plain
        AND slot.promised_at > terms.now - %(nudge_interval)s::interval
        AND slot.promised_at >= run.available_at
        AND slot.queue = {line_of("run")} AND slot.key = run.concurrency_key
    FOR NO KEY UPDATE OF slot, run SKIP LOCKED
), """

CLAIM_PROMISED = f"""
{_own(f"{_CLAIMABLE} AND EXISTS (SELECT 1 FROM promised)", after=_PROMISED)}, taken AS ({_PUT}
    SELECT id, {line_of("owned")}, concurrency_key, task, line_at, fence FROM owned{_OVER}
)
SELECT {COLUMNS}, due_at - %(length)s::interval, {UNHURRIED},
    terms.names, terms.declared, terms.overrides, (
        SELECT count(*) FROM {SLOT} AS other
        WHERE other.fence IS NULL AND other.run_id <> %(run_id)s
            AND other.promised_at > terms.now - %(fresh)s::interval
            AND other.queue = {line_of("owned")}
    )
FROM owned, terms
"""
"""Claims a run that was promised a slot, where no rate has to be counted; under the locks too.

Counts of slots have the promise already, so nothing is counted here: it becomes a slot. It
is read after the locks, and a change of limits takes promises back. The time is that after
the locks, since all rows of the queues are read before an aggregate of them is returned. A run
that left the line since, as by a cancellation, and was queued again became available then.
"""


@cache
def claim_slot(*, rates: bool, key_rate: bool) -> str:
    """Return the statement that claims a run with a slot, and counts the start for its rates."""
    parts = [
        _own(_CLAIMABLE),
        f"""taken AS ({_PUT}
    SELECT id, {line_of("owned")}, concurrency_key, task, line_at, fence FROM owned{_OVER}
)""",
    ]
    if rates:
        parts.append(f"""counted AS (
    UPDATE {QUEUE} AS gate SET due_at = rate.due_at
    FROM owned, unnest(%(rated)s::text[], %(dues)s::timestamptz[]) AS rate(name, due_at)
    WHERE gate.name = rate.name
)""")
    if key_rate:
        parts.append(f"""keyed AS (
    INSERT INTO {RATE} (queue, key, due_at)
    SELECT {line_of("owned")}, concurrency_key, %(key_due)s::timestamptz FROM owned
    ON CONFLICT (queue, key) DO UPDATE SET due_at = excluded.due_at
)""")
    return (
        ",\n".join(parts)
        + f"""
SELECT {COLUMNS}, due_at - %(length)s::interval, {UNHURRIED} FROM owned
"""
    )


STAND_IN_LINE = f"""
WITH waiting AS (
    UPDATE {RUN} AS run SET due_at = NULL WHERE {_ASKED} AND {_CLAIMABLE}
    RETURNING id, queue, concurrency_key, task, line_at, {UNHURRIED}
)
{_PUT}
SELECT id, {line_of("waiting")}, concurrency_key, task, line_at, NULL FROM waiting{_OVER}
"""
