"""What the steps of a run returned."""

from __future__ import annotations

from uuid import UUID

from trigger_celery.vocabulary.records import Outcomes
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.hot import Hot


class DjangoCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, guard: Guard, hot: Hot) -> None:
        self._guard = guard
        self._hot = hot
        self.record = hot.record
        self.record_failure = hot.record_failure

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return all checkpoints and waits of the run and this attempt's counts of failures."""
        return self._guard.read(lambda: self._hot.load(run_id, run_attempt))
