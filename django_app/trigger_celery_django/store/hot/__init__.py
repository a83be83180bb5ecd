"""The verbs that every run pays for, once per kind of database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.records import (
    Checkpoint,
    Claim,
    Claimed,
    Ending,
    FailedAttempt,
    Lease,
    NewRun,
    Nudge,
    Suspend,
)
from trigger_celery.states import RunState


class Hot(Protocol):
    """The verbs, as ``ports`` describes them."""

    def create(self, runs: Sequence[NewRun]) -> Collection[UUID]: ...
    def claim(self, claim: Claim) -> Claimed | None: ...
    def renew(self, leases: Collection[Lease]) -> Collection[Lease]: ...
    def end(self, lease: Lease, ending: Ending) -> None: ...
    def published(self, lease: Lease) -> None: ...
    def record(self, lease: Lease, checkpoint: Checkpoint) -> None: ...
    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None: ...
    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState: ...
    def looked(self, run_id: UUID, *, fence: int) -> None: ...
    def resolve(self, sequence: int, wait_ids: Sequence[int]) -> Sequence[Nudge]: ...
