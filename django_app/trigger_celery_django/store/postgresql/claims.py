"""Claims on PostgreSQL: in one round trip, or under the locks of the queues that limit a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Pipeline

from trigger_celery.vocabulary.admission import Room
from trigger_celery.vocabulary.records import (
    EVERYTHING,
    OF_TASK,
    Claim,
    Claimed,
    Lease,
    Standing,
    line_of,
)
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import RUN_COLUMNS, run_of
from trigger_celery_django.store.postgresql.connection import Row, execute
from trigger_celery_django.store.postgresql.runs import (
    COLUMNS,
    NOTE,
    QUEUE,
    RUN,
    SLOT,
    TERMINAL_STATES,
    limited,
    slot_queue,
)
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.queues.limits import gate

RATE = models.KeyRate._meta.db_table

_ASKED = "run.id = %(run_id)s AND run.task = %(task)s"
_CLAIMABLE = """run.state = 'queued'
        AND (run.available_at <= clock_timestamp() OR run.due_at IS NULL
            OR run.due_at > run.available_at)
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
    SELECT {slot_queue("run")} AS line, '{OF_TASK}' || run.task AS own,
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
        AND slot.queue = {slot_queue("run")} AND slot.key = run.concurrency_key
    FOR NO KEY UPDATE OF slot, run SKIP LOCKED
), """

CLAIM_PROMISED = f"""
{_own(f"{_CLAIMABLE} AND EXISTS (SELECT 1 FROM promised)", after=_PROMISED)}, taken AS ({_PUT}
    SELECT id, {slot_queue("owned")}, concurrency_key, task, line_at, fence FROM owned{_OVER}
)
SELECT {COLUMNS}, due_at - %(length)s::interval, {UNHURRIED},
    terms.names, terms.declared, terms.overrides, (
        SELECT count(*) FROM {SLOT} AS other
        WHERE other.fence IS NULL AND other.run_id <> %(run_id)s
            AND other.promised_at > terms.now - %(fresh)s::interval
            AND other.queue = {slot_queue("owned")}
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
    SELECT id, {slot_queue("owned")}, concurrency_key, task, line_at, fence FROM owned{_OVER}
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
    SELECT {slot_queue("owned")}, concurrency_key, %(key_due)s::timestamptz FROM owned
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
SELECT id, {slot_queue("waiting")}, concurrency_key, task, line_at, NULL FROM waiting{_OVER}
"""


STALE = 100
"""So many slots that mean nothing any more are deleted at a time."""
FRESH = timedelta(seconds=1)
"""A run that was promised a slot no longer ago is about to be claimed."""
_STATE = RUN_COLUMNS.index("state")


class PostgresClaims:
    """Claims runs; it remembers of which tasks the last one was limited.

    These are claimed under locks at once: a statement that would find that out is saved.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._limited: set[str] = set()

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None."""
        if claim.task in self._limited:
            claimed = self._promised(claim)
            if claimed is not None:
                return claimed
            found, claimed = self._with_slot(claim)
            if found:
                return claimed
        row = self._first(CLAIM, claim)
        if row is not None:
            return _claimed(row, claim, ())
        row = self._first(CLAIMED, claim)
        if row is None:
            return None
        if row[_STATE] == RunState.QUEUED:
            self._limited.add(claim.task)
            return self._with_slot(claim)[1]
        return _claimed(row, claim, row[-1] or ())  # type: ignore[arg-type]

    def _promised(self, claim: Claim) -> Claimed | None:
        """Claim the run if it was promised a slot, in one round trip; else None."""
        asked = _parameters_of_slots(claim)

        def work(connection: BaseDatabaseWrapper) -> Row | None:
            with _one_round_trip(connection):
                execute(connection, USE_INDEXES, ())
                cursor = execute(connection, CLAIM_PROMISED, asked)
            return cursor.fetchone()

        row = self._guard.statement(work)
        if row is None:
            return None
        *columns, names, declared, overrides, promised = row
        claimed = _claimed(columns, claim, names)  # type: ignore[arg-type]
        texts = zip(names, declared, overrides, strict=True)  # type: ignore[call-overload]
        room = Room([gate(*each, False) for each in texts], now=claimed.now)
        run = claimed.run
        standing = Standing(
            run_id=run.id,
            queue=line_of(run.spec.queue, run.task),
            key=run.spec.concurrency_key,
            task=run.task,
            starts=not claimed.replayed,
        )
        return replace(claimed, followed=room.is_followed(standing, int(str(promised))))

    def _with_slot(self, claim: Claim) -> tuple[bool, Claimed | None]:
        """Claim a queued run that limits hold for, or put it in line; False if it is none."""
        connection = self._guard.connection

        def work() -> tuple[bool, Claimed | None]:
            connection.ensure_connection()
            with connection.wrap_database_errors:
                return self._under_locks(connection, claim)

        return self._guard.transaction(work)

    def _under_locks(
        self, connection: BaseDatabaseWrapper, claim: Claim
    ) -> tuple[bool, Claimed | None]:
        asked = _parameters_of_slots(claim)
        with _one_round_trip(connection):
            locked = execute(connection, LOCK, asked)
            looked = execute(connection, LOOK, asked)
        gates, look = [row[:-1] for row in locked.fetchall()], looked.fetchone()
        if not gates:
            self._limited.discard(claim.task)
            return False, None
        if look is None:
            return False, None
        standing, room = _room(claim, gates, look)
        names = [str(name) for name, *_ in gates]
        if int(str(look[-1])) >= STALE:
            slots.clear(self._guard.alias, names, limit=STALE)
        if not room.take(standing):
            execute(connection, STAND_IN_LINE, asked)
            return True, None
        statement, moved = _start(room)
        row = execute(connection, statement, {**asked, **moved}).fetchone()
        if row is None:
            return True, None
        followed = room.is_followed(standing, int(str(look[-2])))
        return True, replace(_claimed(row, claim, names), followed=followed)

    def _first(self, statement: str, claim: Claim) -> Row | None:
        return self._guard.statement(
            lambda connection: execute(connection, statement, _parameters(claim)).fetchone()
        )


def _one_round_trip(connection: BaseDatabaseWrapper) -> AbstractContextManager[object]:
    """Send what is executed inside together, if the client library can; each has its snapshot."""
    return connection.connection.pipeline() if Pipeline.is_supported() else nullcontext()


def _parameters(claim: Claim) -> dict[str, object]:
    return {
        "run_id": claim.run_id,
        "task": claim.task,
        "worker": claim.worker,
        "version": claim.version,
        "length": claim.length,
        "token": claim.token,
    }


def _parameters_of_slots(claim: Claim) -> dict[str, object]:
    times = {"nudge_interval": config().nudge_interval, "fresh": FRESH}
    return {**_parameters(claim), **times}


def _room(claim: Claim, locked: Iterable[Row], look: Row) -> tuple[Standing, Room]:
    """Return the run that asks, and what the limits allow."""
    line, key, starts, now, key_due, everything, of_task, of_line, of_key, *_ = look
    assert isinstance(now, datetime)
    # Without a key what is said of it is overwritten by what is said of the queue.
    counts = {
        (line, key): of_key,
        (EVERYTHING, ""): everything,
        (line, ""): of_line,
        (OF_TASK + claim.task, ""): of_task,
    }
    due = {(line, key): key_due} | {(name, ""): due_at for name, *_, due_at in locked}
    room = Room(
        [gate(*columns) for *columns, _ in locked],
        counts=counts,  # type: ignore[arg-type]
        due={at: due_at for at, due_at in due.items() if due_at is not None},  # type: ignore[misc]
        now=now,
    )
    standing = Standing(
        run_id=claim.run_id, queue=str(line), key=str(key), task=claim.task, starts=bool(starts)
    )
    return standing, room


def _start(room: Room) -> tuple[str, Mapping[str, object]]:
    """Return the statement that starts a run, and its parameters for the rates that moved."""
    queues = sorted(name for name, key in room.changed if not key)
    keys = [room.due[name, key] for name, key in room.changed if key]
    moved: dict[str, object] = {}
    if queues:
        moved |= {"rated": queues, "dues": [room.due[name, ""] for name in queues]}
    if keys:
        (moved["key_due"],) = keys  # a run has one concurrency key
    return claim_slot(rates=bool(queues), key_rate=bool(keys)), moved


def _claimed(row: Sequence[object], claim: Claim, limited: Iterable[str]) -> Claimed:
    *columns, now, _ = row
    run = run_of(columns)
    assert isinstance(now, datetime)
    return Claimed(
        run=run,
        lease=Lease(run.id, run.fence, claim.token),
        now=now,
        publishing=run.state.terminal,
        replayed=run.fence > 1,
        limited=tuple(sorted(limited)),
    )
