"""What the steps of a run returned."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from trigger_celery.vocabulary.records import Holds, Lease, Outcomes
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.hot import Hot


class DjangoCheckpoints:
    """Implements :class:`trigger_celery.ports.Checkpoints`."""

    def __init__(self, guard: Guard, hot: Hot) -> None:
        self._guard = guard
        self._hot = hot
        self.record = hot.record
        self.record_failure = hot.record_failure

    def keep_failures(self, lease: Lease, failures: Mapping[str, int]) -> None:
        """Let failed attempts hold always, named by step key and number of this life."""
        alias = self._guard.alias

        def work() -> None:
            runs = models.Run.objects.using(alias).select_for_update().held(lease)
            life = runs.values_list("attempts_after_fence", flat=True).first()
            if life is None:
                raise lost(lease)
            tries = models.FailedAttempt.objects.using(alias).filter(
                run=lease.run_id, fence__gt=life
            )
            for key, number in failures.items():
                tries.filter(key=key, number=number).update(holds=Holds.ALWAYS)

        self._guard.transaction(work)

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return what a segment of this attempt of the run replays, and the counts of failures."""
        return self._guard.read(lambda: self._hot.load(run_id, run_attempt))
