"""The part of the facade that is about managing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trigger_celery.authoring.run_info import RunInfo
from trigger_celery.engine import copies, manage, pausing
from trigger_celery.engine.app import Engine
from trigger_celery.engine.info import info


class RunFacade:
    """Implements :class:`~trigger_celery.authoring.run_info.RunVerbs`."""

    engine: Engine

    def get_run(self, run_id: UUID) -> RunInfo:
        """Return a run, decoded."""
        return info(self.engine, manage.get(self.engine, run_id))

    def cancel_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Cancel a run; False if it had ended already."""
        manage.get(self.engine, run_id)
        return manage.cancel(self.engine, run_id, reason, by=by)

    def retry_run(self, run_id: UUID, *, reason: str, by: str) -> None:
        """Queue a failed run again."""
        manage.retry(self.engine, run_id, reason=reason, by=by)

    def rerun(
        self,
        run_id: UUID,
        *,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        reason: str,
        by: str,
    ) -> UUID:
        """Create a run like another one."""
        return copies.rerun(self.engine, run_id, args=args, kwargs=kwargs, reason=reason, by=by)

    def fork_run(
        self,
        run_id: UUID,
        *,
        step: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        reason: str,
        by: str,
    ) -> UUID:
        """Create a run that goes on at a step of another one."""
        return copies.fork(
            self.engine, run_id, step, args=args, kwargs=kwargs, reason=reason, by=by
        )

    def reschedule_run(
        self, run_id: UUID, *, delay: timedelta | float | datetime, reason: str, by: str
    ) -> None:
        """Give a delayed run another start."""
        pausing.reschedule(self.engine, run_id, delay, reason=reason, by=by)

    def pause_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Keep a run from going on."""
        return pausing.pause(self.engine, run_id, reason=reason, by=by)

    def resume_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Let a paused run go on."""
        return pausing.resume(self.engine, run_id, reason=reason, by=by)
