"""Claims on PostgreSQL: in one round trip, or under the locks of the queues that limit a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta

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
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.run_columns import RUN_COLUMNS, run_of
from trigger_celery_django.store.postgresql import claim_statements
from trigger_celery_django.store.postgresql.connection import Row, execute
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.queues.limits import gate

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
        row = self._first(claim_statements.CLAIM, claim)
        if row is not None:
            return _claimed(row, claim, ())
        row = self._first(claim_statements.CLAIMED, claim)
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
                execute(connection, claim_statements.USE_INDEXES, ())
                cursor = execute(connection, claim_statements.CLAIM_PROMISED, asked)
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
            locked = execute(connection, claim_statements.LOCK, asked)
            looked = execute(connection, claim_statements.LOOK, asked)
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
            execute(connection, claim_statements.STAND_IN_LINE, asked)
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
        due={who: due_at for who, due_at in due.items() if due_at is not None},  # type: ignore[misc]
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
    return claim_statements.claim_slot(rates=bool(queues), key_rate=bool(keys)), moved


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
