"""What a person asks of one run, beyond canceling and retrying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records.managing import RecordedCall
from trigger_celery.vocabulary.records.runs import Nudge


class Managing(Protocol):
    """Holding a run, moving its start, and copying what it recorded.

    ``details`` go into the run's history: the person that asked, and why. Unless stated otherwise a
    verb raises ``RunNotFound`` or ``IllegalTransition``.
    """

    def pause(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        """Keep a run that has not ended from being claimed; False if it was paused already.

        Its waits may end meanwhile; it is then queued, and the sweep leaves it alone.
        """

    def resume(self, run_id: UUID, details: Mapping[str, str]) -> Nudge | None:
        """Let a paused run go on; None if it was not paused, or has ended."""

    def reschedule(
        self,
        run_id: UUID,
        details: Mapping[str, str],
        *,
        delay: timedelta = timedelta(0),
        available_at: datetime | None = None,
    ) -> Nudge:
        """Give a delayed run that never started another start; its time to live moves along."""

    def recorded_calls(self, run_id: UUID) -> Sequence[RecordedCall]:
        """Return the steps and waits of a run, in no order; none for an unknown one."""

    def copy(self, source_id: UUID, run_id: UUID, keys: Sequence[str]) -> None:
        """Copy outcomes of one run to a new one, *in the caller's transaction*.

        The new run was created in this transaction; its first segment replays them.
        """
