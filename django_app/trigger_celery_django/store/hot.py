"""The verbs that every run pays for, once per kind of database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
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


class Hot(Protocol):
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
