"""The hot verbs on PostgreSQL: compiled statements on psycopg's own cursor.

Django's cursor wrapper costs more than the server needs for a recorded step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Cursor

from trigger_celery.records import (
    Checkpoint,
    Claim,
    Claimed,
    Ending,
    FailedAttempt,
    Lease,
    NewRun,
    Nudge,
    Run,
    Suspend,
)
from trigger_celery.states import TRANSITIONS, UNSUCCESSFUL, RunState
from trigger_celery_django.conf import config
from trigger_celery_django.store.guard import Guard, lost
from trigger_celery_django.store.hot import statements, wait_statements
from trigger_celery_django.store.hot.parameters import (
    failure_parameters,
    run_parameters,
    wait_parameters,
)
from trigger_celery_django.store.rows import RUN_COLUMNS

Row = tuple[object, ...]
Parameters = Mapping[str, object] | Sequence[object]

_MICROSECOND = timedelta(microseconds=1)


def execute(connection: BaseDatabaseWrapper, statement: str, parameters: Parameters) -> Cursor[Row]:
    """Send one statement; tests count what goes through here.

    The server binds the parameters and prepares the statement, which is most of the cost of
    a recorded step otherwise. ``DISABLE_SERVER_SIDE_CURSORS`` is Django's word for a pooler
    that changes servers between transactions: what is prepared on one is not on the next.
    """
    pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    cursor: Cursor[Row] = Cursor(connection.connection)
    return cursor.execute(statement, parameters, prepare=not pooled)


class PostgresHot:
    """Implements :class:`~trigger_celery_django.store.hot.Hot`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def create(self, runs: Sequence[NewRun]) -> Collection[UUID]:
        """Insert queued runs in the caller's transaction; return the ids that were new."""
        connection = self._guard.connection
        connection.ensure_connection()
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors:
            rows = execute(connection, statements.CREATE, run_parameters(runs)).fetchall()
        return {run_id for (run_id,) in rows}  # type: ignore[misc]

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None."""
        parameters = {
            "run_id": claim.run_id,
            "task": claim.task,
            "worker": claim.worker,
            "version": claim.version,
            "length": claim.length,
            "token": claim.token,
        }
        row = self._first(statements.CLAIM, parameters)
        if row is None:
            row = self._first(statements.CLAIMED, parameters)
        return None if row is None else _claimed(row)

    def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Extend all these leases by their own lengths; return those that still hold."""
        # In the order in which every verb that locks several runs locks them.
        ordered = sorted(leases, key=lambda lease: lease.run_id)
        parameters = {
            "ids": [lease.run_id for lease in ordered],
            "fences": [lease.fence for lease in ordered],
        }
        rows = self._all(statements.RENEW, parameters)
        return {Lease(run_id, fence) for run_id, fence in rows}  # type: ignore[arg-type]

    def end(self, lease: Lease, ending: Ending) -> None:
        """End the run; repeated with the same token it changes nothing."""
        letter = ending.state in UNSUCCESSFUL
        parameters = {
            "run_id": lease.run_id,
            "fence": lease.fence,
            "state": ending.state.value,
            "verb": TRANSITIONS[RunState.EXECUTING][ending.state],
            "output": ending.output,
            "error": ending.error,
            "token": ending.token,
            "publish": ending.publish,
            "within": ending.publish_within,
            "fingerprint": ending.fingerprint,
            **failure_parameters(ending.failed),
        }
        statement = statements.end(letter=letter, failed=ending.failed is not None)
        if not self._count(statement, parameters):
            self._settled(lease, ending.token)

    def published(self, lease: Lease) -> None:
        """Note that result and callbacks of an ended run are out."""
        self._count(statements.PUBLISHED, {"run_id": lease.run_id, "fence": lease.fence})

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all."""
        span = checkpoint.span
        parameters = (
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
        )
        if self._count(statements.RECORD, parameters, joins=True):
            return
        mine = (lease.run_id, checkpoint.key, checkpoint.token)
        if not self._count(statements.RECORDED, mine, joins=True):
            raise lost(lease)

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt that is followed by another in the same segment."""
        parameters = {
            "run_id": lease.run_id,
            "fence": lease.fence,
            **failure_parameters(failed),
        }
        if self._count(statements.RECORD_FAILURE, parameters):
            return
        if not self._count(statements.FAILURE_RECORDED, parameters):
            raise lost(lease)

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        """Add the waits and suspend the run; return its new state."""
        parameters = {
            "run_id": lease.run_id,
            "fence": lease.fence,
            "token": suspend.token,
            "next_attempt": suspend.next_attempt,
            "awaited": list(suspend.keys),
            "nudge_interval": config().nudge_interval,
            "look_within": look_within,
            **wait_parameters(suspend.waits),
            **failure_parameters(suspend.failed),
        }
        statement = wait_statements.suspend(failed=suspend.failed is not None)
        row = self._first(statement, parameters)
        return self._settled(lease, suspend.token) if row is None else RunState(str(row[0]))

    def looked(self, run_id: UUID, *, fence: int) -> None:
        """Note that stored events were compared with all open waits of the run."""
        self._count(wait_statements.LOOKED, {"run_id": run_id, "fence": fence})

    def resolve(self, sequence: int, wait_ids: Sequence[int]) -> Sequence[Nudge]:
        """Let the event end those of the waits that are open; queue their suspended runs."""
        parameters = {
            "ids": list(wait_ids),
            "event": sequence,
            "nudge_interval": config().nudge_interval,
        }
        try:
            rows = self._all(wait_statements.RESOLVE, parameters)
        except IntegrityError:
            # After this statement began, a rival gave the event to another wait of a run.
            return self.resolve(sequence, wait_ids)
        return tuple(Nudge(run_id=i, task=t, canvas=c) for i, t, c in rows)  # type: ignore[arg-type]

    def _settled(self, lease: Lease, token: str) -> RunState:
        """Return the state of a run whose last write was ours already; else the lease is lost."""
        parameters = {"run_id": lease.run_id, "fence": lease.fence, "token": token}
        row = self._first(statements.SETTLED, parameters)
        if row is None:
            raise lost(lease)
        return RunState(str(row[0]))

    def _count(self, statement: str, parameters: Parameters, *, joins: bool = False) -> int:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters).rowcount, joins=joins
        )

    def _first(self, statement: str, parameters: Parameters) -> Row | None:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters).fetchone()
        )

    def _all(self, statement: str, parameters: Parameters) -> list[Row]:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters).fetchall()
        )


def _claimed(row: Row) -> Claimed:
    *columns, now = row
    values = dict(zip(RUN_COLUMNS, columns, strict=True))
    run = Run(**values | {"state": RunState(str(values["state"]))})  # type: ignore[arg-type]
    assert isinstance(now, datetime)
    return Claimed(
        run=run,
        lease=Lease(run.id, run.fence),
        now=now,
        publishing=run.state.terminal,
        replayed=run.fence > 1,
    )
