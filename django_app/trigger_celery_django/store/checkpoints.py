"""What the steps of a run returned."""

from __future__ import annotations

from uuid import UUID

from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, Lease, Outcomes
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.hot import Hot


class DjangoCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, guard: Guard, hot: Hot) -> None:
        self._guard = guard
        self._hot = hot

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all; joins the transaction of ``Store.atomic``."""
        self._hot.record(lease, checkpoint)

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt that is followed by another in the same segment."""
        self._hot.record_failure(lease, failed)

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return all checkpoints and waits of the run and this attempt's counts of failures."""
        return self._guard.read(lambda: self._hot.load(run_id, run_attempt))
