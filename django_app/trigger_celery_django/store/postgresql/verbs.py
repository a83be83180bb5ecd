"""The verbs of every run on PostgreSQL: compiled statements on psycopg's own cursor.

Django's cursor wrapper costs more than the server needs for a recorded step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import Error, IntegrityError
from psycopg import Cursor

from trigger_celery.errors import StoreUnavailable
from trigger_celery.vocabulary.records import (
    Audience,
    Checkpoint,
    Claim,
    Claimed,
    Created,
    Ending,
    FailedAttempt,
    Lease,
    NewEvent,
    NewRun,
    Nudge,
    Outcomes,
    Suspend,
)
from trigger_celery.vocabulary.states import TRANSITIONS, UNSUCCESSFUL, RunState
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.faults import DriverFault, fault_of
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.common.outcomes import LOAD, outcomes_of
from trigger_celery_django.store.postgresql import events as event_statements
from trigger_celery_django.store.postgresql import runs as run_statements
from trigger_celery_django.store.postgresql import waits as wait_statements
from trigger_celery_django.store.postgresql.claims import PostgresClaims
from trigger_celery_django.store.postgresql.connection import Parameters, Row, execute
from trigger_celery_django.store.postgresql.events import audience_of
from trigger_celery_django.store.postgresql.new_runs import CREATE, create_parameters
from trigger_celery_django.store.postgresql.preparing import stop_preparing
from trigger_celery_django.store.postgresql.runs import failure_parameters, step_parameters
from trigger_celery_django.store.postgresql.waits import wait_parameters

_RIVALS = 5
"""So often a statement is repeated that a rival has made impossible."""


class PostgresVerbs:
    """Implements :class:`~trigger_celery_django.store.databases.DatabaseVerbs`."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._claims = PostgresClaims(guard)

    def create(self, runs: Sequence[NewRun]) -> Created:
        rows = self._caller(CREATE, create_parameters(runs)).fetchall()
        lines: dict[UUID, str | None] = dict(rows)  # type: ignore[arg-type]
        standing = {run: line for run, line in lines.items() if line is not None}
        return Created(lines).standing(standing) if standing else Created(lines)

    def claim(self, claim: Claim) -> Claimed | None:
        return self._claims.claim(claim)

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        # In the order in which every verb that locks several runs locks them.
        ordered = sorted(leases, key=lambda lease: lease.run_id)
        parameters = {
            "ids": [lease.run_id for lease in ordered],
            "fences": [lease.fence for lease in ordered],
            "holders": [lease.token for lease in ordered],
        }
        rows = self._all(run_statements.RENEW, parameters, prepare=False)
        return {Lease(*row): bool(paused) for *row, paused in rows}  # type: ignore[arg-type]

    def end(self, lease: Lease, ending: Ending) -> None:
        dead_letter = ending.state in UNSUCCESSFUL
        parameters = {
            **_held(lease),
            "state": ending.state.value,
            "verb": TRANSITIONS[RunState.EXECUTING][ending.state],
            "output": ending.output,
            "error": ending.error,
            "token": ending.token,
            "publish": ending.publish,
            "within": ending.publish_within,
            "resolves": list(ending.resolves),
            **(run_statements.cause_parameters(ending.cause) if dead_letter else {}),
            **failure_parameters(ending.failed),
        }
        statement = run_statements.end(
            dead_letter=dead_letter,
            failed=ending.failed is not None,
            resolves=bool(ending.resolves),
        )
        if not self._count(statement, parameters):
            self._read_back(lease, ending.token)

    def published(self, lease: Lease) -> None:
        self._count(run_statements.PUBLISHED, {"run_id": lease.run_id, "fence": lease.fence})

    def load(self, run_id: UUID, run_attempt: int) -> Outcomes:
        parameters = (run_id, run_id, run_id, run_id, run_attempt)
        return outcomes_of(self._caller(LOAD, parameters).fetchall())

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        if self._count(run_statements.RECORD, step_parameters(lease, checkpoint), joins=True):
            return
        mine = (lease.run_id, checkpoint.key, checkpoint.token)
        if not self._count(run_statements.RECORDED, mine, joins=True):
            raise lost(lease)

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        parameters = {
            **_held(lease),
            **failure_parameters(failed),
        }
        if self._count(run_statements.RECORD_FAILURE, parameters):
            return
        if not self._count(run_statements.FAILURE_RECORDED, parameters):
            raise lost(lease)

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        parameters = {
            **_held(lease),
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
        return self._read_back(lease, suspend.token) if row is None else RunState(str(row[0]))

    def looked(self, run_id: UUID, *, fence: int) -> None:
        self._count(wait_statements.LOOKED, {"run_id": run_id, "fence": fence})

    def audience(self, name: str, hashes: Sequence[int], *, before: int, limit: int) -> Audience:
        asked = sorted(set(hashes))
        parameters = (name, name, name, before, *(asked and (*asked, name)))
        statement = event_statements.audience(len(asked), limit)
        return audience_of(name, self._all(statement, parameters))

    def resolve(self, sequence: int, wait_ids: Sequence[int], *, matched: bool) -> Sequence[Nudge]:
        parameters = {
            "ids": list(wait_ids),
            "event": sequence,
            "nudge_interval": config().nudge_interval,
        }
        for _ in range(_RIVALS):
            try:
                # A plan that was kept from when the tables were small reads all of each row's.
                rows = self._all(
                    event_statements.resolve(matched=matched),
                    parameters,
                    prepare=len(wait_ids) == 1,
                )
            except IntegrityError as error:
                if not _is_taken(error):
                    raise
            else:
                return tuple(Nudge(run_id=i, task=t, canvas=c) for i, t, c, _ in rows)  # type: ignore[arg-type]
        raise StoreUnavailable(
            f"event {sequence} was given to other waits of the same runs {_RIVALS} times while "
            "it was matched: it stays unmatched, and the sweep matches it again"
        )

    def add_event(self, event: NewEvent) -> tuple[int, datetime] | None:
        parameters = (event.source, event.id, event.name, event.payload)
        return self._caller(event_statements.ADD, parameters).fetchone()  # type: ignore[return-value]

    def matched(self, sequence: int) -> None:
        self._count(event_statements.MATCHED, {"event": sequence})

    def _read_back(self, lease: Lease, token: str) -> RunState:
        """Return the state of a run whose last write was ours already; else the lease is lost."""
        parameters = {"run_id": lease.run_id, "fence": lease.fence, "token": token}
        row = self._first(run_statements.SETTLED, parameters)
        if row is None:
            raise lost(lease)
        return RunState(str(row[0]))

    def _caller(self, statement: str, parameters: Parameters) -> Cursor[Row]:
        """Send a statement in the caller's transaction, with its errors as Django's."""
        connection = self._guard.connection
        connection.ensure_connection()
        connection.validate_no_broken_transaction()
        try:
            with connection.wrap_database_errors:
                return execute(connection, statement, parameters)
        except Error as error:  # the caller repeats all of the transaction, or nothing
            if fault_of(error, connection) is DriverFault.UNPREPARED:
                stop_preparing(connection, error)
            raise

    def _count(self, statement: str, parameters: Parameters, *, joins: bool = False) -> int:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters).rowcount, joins=joins
        )

    def _first(self, statement: str, parameters: Parameters) -> Row | None:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters).fetchone()
        )

    def _all(self, statement: str, parameters: Parameters, *, prepare: bool = True) -> list[Row]:
        return self._guard.statement(
            lambda connection: execute(connection, statement, parameters, prepare).fetchall()
        )


def _is_taken(error: IntegrityError) -> bool:
    """Whether a rival gave the event to another wait of a run after the statement began."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return getattr(diagnosis, "constraint_name", None) == event_statements.TAKEN


def _held(lease: Lease) -> dict[str, object]:
    return {"run_id": lease.run_id, "fence": lease.fence, "holder": lease.token}
