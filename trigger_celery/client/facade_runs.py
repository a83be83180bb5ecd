"""The part of the facade that is about managing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trigger_celery.body.run_info import RunInfo
from trigger_celery.client.run_info import info
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs import copies


class RunFacade:
    """Implements :class:`~trigger_celery.body.run_info.RunVerbs`."""

    engine: Engine

    def get_run(self, run_id: UUID) -> RunInfo:
        """Return a run, decoded."""
        return info(self.engine, run_control.get(self.engine, run_id))

    def cancel_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Cancel a run; False if it had ended already."""
        run_control.get(self.engine, run_id)
        return run_control.cancel(self.engine, run_id, reason, by=by)

    def retry_run(self, run_id: UUID, *, reason: str, by: str) -> None:
        """Queue a failed run again."""
        run_control.retry(self.engine, run_id, reason=reason, by=by)

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
        run_control.reschedule(self.engine, run_id, delay, reason=reason, by=by)

    def pause_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Keep a run from going on."""
        return run_control.pause(self.engine, run_id, reason=reason, by=by)

    def resume_run(self, run_id: UUID, *, reason: str, by: str) -> bool:
        """Let a paused run go on."""
        return run_control.resume(self.engine, run_id, reason=reason, by=by)
