"""The verbs that every run pays for, and which implementation of them a database gets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Protocol
from uuid import UUID

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
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.portable.verbs import PortableVerbs
from trigger_celery_django.store.queues.admission_rows import AdmissionRows


class DatabaseVerbs(Protocol):
    """The verbs, as ``ports`` describes them."""

    def create(self, runs: Sequence[NewRun]) -> Created: ...
    def claim(self, claim: Claim) -> Claimed | None: ...
    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]: ...
    def end(self, lease: Lease, ending: Ending) -> None: ...
    def published(self, lease: Lease) -> None: ...
    def load(self, run_id: UUID, run_attempt: int) -> Outcomes: ...
    def record(self, lease: Lease, checkpoint: Checkpoint) -> None: ...
    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None: ...
    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState: ...
    def looked(self, run_id: UUID, *, fence: int) -> None: ...
    def audience(
        self, name: str, hashes: Sequence[int], *, before: int, limit: int
    ) -> Audience: ...
    def resolve(
        self, sequence: int, wait_ids: Sequence[int], *, matched: bool
    ) -> Sequence[Nudge]: ...
    def add_event(self, event: NewEvent) -> tuple[int, datetime] | None: ...
    def matched(self, sequence: int) -> None: ...


# Django prefers psycopg 3 where it is installed; without it PostgreSQL is as portable as others.
if find_spec("psycopg") is not None:
    from trigger_celery_django.store.postgresql.admissions import PostgresAdmissionRows
    from trigger_celery_django.store.postgresql.verbs import PostgresVerbs

    _POSTGRES: Callable[[Guard], DatabaseVerbs] = PostgresVerbs
    _POSTGRES_ROWS: type[AdmissionRows] = PostgresAdmissionRows
else:
    _POSTGRES = PortableVerbs
    _POSTGRES_ROWS = AdmissionRows


def verbs_for(guard: Guard) -> DatabaseVerbs:
    """Return the verbs for the database of the guard."""
    verbs = _POSTGRES if guard.connection.vendor == "postgresql" else PortableVerbs
    return verbs(guard)


def admission_rows(guard: Guard, queue: str) -> AdmissionRows:
    """Return what an admission to a queue reads and writes on the database of the guard."""
    rows = _POSTGRES_ROWS if guard.connection.vendor == "postgresql" else AdmissionRows
    return rows(guard, queue)
