"""What a caller holds of a run that it started."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from uuid import UUID

from trigger_celery.body.context import current_session
from trigger_celery.client.access import permitted
from trigger_celery.client.runs import cancel_run, stored_run
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.segment.outcome import stored_error
from trigger_celery.errors import UsageError, WaitTimeout
from trigger_celery.values import register
from trigger_celery.vocabulary.checks import duration
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

R = TypeVar("R", covariant=True)

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0


@register(name="trigger_celery.RunHandle")
@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle(Generic[R]):
    """A run that was started. ``created`` is false if its key gave one from before.

    ``str(handle.id)`` is also the id of Celery's ``AsyncResult``.
    """

    id: UUID
    task: str
    created: bool

    if TYPE_CHECKING:  # in an ``async def`` task a trigger returns an awaitable of the handle

        def __await__(self) -> Generator[Any, Any, Self]: ...

    def state(self) -> RunState:
        """Return where the run is. Raises ``RunNotFound``."""
        return stored_run(self.id).state

    def cancel(self, reason: str = "") -> bool:
        """Cancel the run; False if it had ended already."""
        return cancel_run(self.id, reason=reason)

    def result(self, timeout: timedelta | float | None = None) -> R:
        """Wait for the end of the run by looking at the database; return what it returned.

        ``timeout`` is a ``timedelta`` or seconds, None waits for ever. Raises
        :exc:`WaitTimeout` after it, ``RunFailed``, ``RunCanceled``, ``RunExpired`` or
        ``RunTimedOut`` if the run did not succeed, ``UsageError`` in a durable task, and
        ``TransactionOpen`` where the run may not be committed yet.
        """
        if current_session() is not None:
            raise UsageError(
                f"the result of run {self.id} was asked for inside a durable task, whose worker "
                "it would hold: start it with trigger_and_wait() instead"
            )
        engine = permitted("get_run", self.id).engine
        engine.store.check_boundary(f"the result of run {self.id}")
        limit = None if timeout is None else duration(timeout, "timeout")
        run = wait_for_end(self.id, limit)
        if run.state is not RunState.COMPLETED or run.output is None:
            raise stored_error(run)
        value: Any = engine.codec.decode(run.output)
        return value  # type: ignore[no-any-return]  # the task's own type


def error_of(run: Run) -> Exception:
    """Return what :meth:`RunHandle.result` raises for an ended run that did not succeed."""
    return stored_error(run)


def wait_for_end(run_id: UUID, timeout: timedelta | None = None) -> Run:
    """Look at the run again and again until it has ended. Raises :exc:`WaitTimeout`."""
    engine = permitted("get_run", run_id).engine
    limit = None if timeout is None else timeout.total_seconds()
    begin, pause = engine.clock.monotonic(), FIRST_PAUSE
    while not (run := run_control.get(engine, run_id)).state.terminal:
        passed = engine.clock.monotonic() - begin
        if limit is not None and passed >= limit:
            raise WaitTimeout(f"run {run_id} of task {run.task!r} is still {run.state}")
        engine.clock.sleep(pause if limit is None else min(pause, limit - passed))
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return run
