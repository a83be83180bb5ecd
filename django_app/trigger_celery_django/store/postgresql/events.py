"""The PostgreSQL statements of an event: storing it, finding what it concerns, and waking them.

What is written after the event itself does not wait for the disk: if the server crashes before
it is there, so is nothing that was written later, and the event counts as not matched. Then
the sweep matches it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from trigger_celery.vocabulary.records import Audience, Candidate, StepKind, Subscription
from trigger_celery_django import models
from trigger_celery_django.store.postgresql.runs import EVENT, NOTE, RUN, SHAPE, WAIT

SUBSCRIPTION = models.Subscription._meta.db_table
TAKEN = "trigger_wait_event"
"""The constraint that gives an event to one wait of a run."""

_UNHURRIED = "set_config('synchronous_commit', 'off', true)"

# As a condition it would invite a scan of all unmatched events, if few were there a while ago.
_MATCHED = "matched_at = coalesce(matched_at, clock_timestamp())"

ADD = f"""
INSERT INTO {EVENT} (source, event_id, name, payload, received_at)
VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT DO NOTHING
RETURNING sequence, received_at
"""

MATCHED = f"""
UPDATE {EVENT} SET {_MATCHED}
WHERE sequence = %(event)s
RETURNING {_UNHURRIED}
"""


_SHAPES = f"""
SELECT 'shape', paths, NULL, NULL, NULL::bigint, NULL::uuid, NULL::uuid, NULL::bool
FROM {SHAPE} WHERE name = %s
"""


@cache
def audience(hashes: int, limit: int) -> str:
    """Return the statement that finds what an event may concern: rows for :func:`audience_of`.

    It takes the event's name three times, its sequence, and if there are so many hashes these
    and the name again.
    Each hash is one bounded index scan. Limit and number are written out: of an array, or of
    a limit, that it does not see, the server expects more, and plans anew each time.
    """
    waits = f"""
    UNION ALL (
        SELECT 'wait', w.key, w.filter, w.kind, w.id, w.run_id, w.token_id, w.looked
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
        SELECT 'subscription', task, filter, NULL, NULL, NULL, NULL, NULL
        FROM {SUBSCRIPTION} WHERE name = %s ORDER BY task LIMIT {limit}
    )
    UNION ALL (
        SELECT 'crowd', NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM {EVENT} WHERE name = %s AND matched_at IS NULL AND sequence < %s LIMIT 1
    )
    {waits if hashes else ""}
    """


def audience_of(name: str, rows: Iterable[tuple[Any, ...]]) -> Audience:
    """Return what the rows of :func:`audience` say."""
    shapes: list[str] = []
    subscriptions: list[Subscription] = []
    candidates: list[Candidate] = []
    crowded = False
    for what, first, text, kind, wait_id, run_id, token_id, looked in rows:
        if what == "shape":
            shapes.append(first)
        elif what == "subscription":
            subscriptions.append(Subscription(task=first, name=name, filter=text))
        elif what == "crowd":
            crowded = True
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
                    looked=looked,
                )
            )
    subscriptions.sort(key=lambda each: each.task)
    candidates.sort(key=lambda each: each.wait_id)
    return Audience(
        shapes=shapes, subscriptions=subscriptions, candidates=candidates, crowded=crowded
    )


_RESOLVE = f"""
WITH asked AS MATERIALIZED (
    SELECT wait.id, wait.run_id FROM unnest(%(ids)s::bigint[]) AS given(id), LATERAL (
        SELECT id, run_id, state FROM {WAIT} WHERE id = given.id OFFSET 0
    ) AS wait
    WHERE wait.state = 'waiting' ORDER BY wait.run_id
), locked AS MATERIALIZED (
    SELECT asked.id, run.state, run.fence FROM asked, LATERAL (
        SELECT state, fence, event_cut FROM {RUN} WHERE id = asked.run_id OFFSET 0
        FOR NO KEY UPDATE
    ) AS run
    WHERE run.event_cut < %(event)s
), chosen AS MATERIALIZED (
    SELECT DISTINCT ON (wait.run_id) wait.id, wait.run_id, wait.key, locked.state, locked.fence
    FROM locked, LATERAL (
        SELECT id, run_id, key, state FROM {WAIT} WHERE id = locked.id OFFSET 0 FOR UPDATE
    ) AS wait
    WHERE wait.state = 'waiting' AND NOT EXISTS (
        SELECT 1 FROM {WAIT} AS other WHERE other.run_id = wait.run_id
            AND (other.run_id, other.event_id) >= (wait.run_id, %(event)s)
            AND (other.run_id, other.event_id) <= (wait.run_id, %(event)s) OFFSET 0
    )
    ORDER BY wait.run_id, wait.id
), taken AS (
    UPDATE {WAIT} SET state = 'event', event_id = %(event)s, resolved_at = clock_timestamp()
    WHERE id = ANY(ARRAY(SELECT id FROM chosen))
), woken AS (
    UPDATE {RUN} SET
        state = 'queued', worker = '', available_at = clock_timestamp(),
        due_at = clock_timestamp() + %(nudge_interval)s::interval
    WHERE id = ANY(ARRAY(SELECT run_id FROM chosen WHERE state = 'suspended'))
    RETURNING id, task, canvas
), noted AS (
    {NOTE}
    SELECT run_id, clock_timestamp(), 'wake', 'queued', fence, '',
        json_build_object('key', key)::text
    FROM chosen WHERE state = 'suspended'
)
"""
"""Its cost grows with the waits it is given and with nothing else, whatever the statistics say.

Each row is looked up by its own key: OFFSET 0 keeps a subquery apart, so that no condition on
states or events, of which the planner may believe that hardly any row fulfils it, chooses
another index or a join that reads all open waits for each of them. Pairs are compared because
the index of ``event_id`` alone, which could be chosen too, has all waits that the event ended.
Nothing is joined after that: the state of a run is read with its lock and stays what it is.
"""


@cache
def resolve(*, matched: bool) -> str:
    """Return the statement that ends waits with an event, and notes that it was matched.

    See ``wait_statements`` for why the waits are read FOR UPDATE, each after its run is locked.
    """
    note = f"""
, seen AS (
    UPDATE {EVENT} SET {_MATCHED} WHERE sequence = %(event)s
)"""
    return f"""{_RESOLVE}{note if matched else ""}
SELECT id, task, canvas, {_UNHURRIED} FROM woken ORDER BY id
"""
