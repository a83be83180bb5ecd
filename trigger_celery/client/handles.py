"""What a caller holds of a run that it started."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from uuid import UUID

from trigger_celery.body.context import current_session
from trigger_celery.client.access import installed_engine, permitted
from trigger_celery.client.async_calls import in_thread
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

    async def astate(self) -> RunState:
        """Do what :meth:`state` does, in async code."""
        return await in_thread(self.state)

    async def acancel(self, reason: str = "") -> bool:
        """Do what :meth:`cancel` does, in async code."""
        return await in_thread(self.cancel, reason)

    async def aresult(self, timeout: timedelta | float | None = None) -> R:
        """Do what :meth:`result` does, in async code; no thread waits meanwhile.

        It looks at the run again and again, so ``asyncio.timeout()`` ends it too.
        """
        limit = self._check_wait(timeout)
        begin, pause = monotonic(), FIRST_PAUSE
        while not (run := await in_thread(stored_run, self.id)).state.terminal:
            if limit is not None and monotonic() - begin >= limit.total_seconds():
                raise _late(run)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return self._returned(run)

    def result(self, timeout: timedelta | float | None = None) -> R:
        """Wait for the end of the run by looking at the database; return what it returned.

        ``timeout`` is a ``timedelta`` or seconds, None waits for ever. Raises
        :exc:`WaitTimeout` after it, ``RunFailed``, ``RunCanceled``, ``RunExpired`` or
        ``RunTimedOut`` if the run did not succeed, ``UsageError`` in a durable task, and
        ``TransactionOpen`` where the run may not be committed yet.
        """
        limit = self._check_wait(timeout)
        permitted("get_run", self.id).engine.store.check_boundary(f"the result of run {self.id}")
        return self._returned(wait_for_end(self.id, limit))

    def _check_wait(self, timeout: timedelta | float | None) -> timedelta | None:
        if current_session() is not None:
            raise UsageError(
                f"the result of run {self.id} was asked for inside a durable task, whose worker "
                "it would hold: start it with trigger_and_wait() instead"
            )
        return None if timeout is None else duration(timeout, "timeout")

    def _returned(self, run: Run) -> R:
        if run.state is not RunState.COMPLETED or run.output is None:
            raise stored_error(run)
        value: Any = installed_engine().codec.decode(run.output)
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
            raise _late(run)
        engine.clock.sleep(pause if limit is None else min(pause, limit - passed))
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return run


def _late(run: Run) -> WaitTimeout:
    return WaitTimeout(f"run {run.id} of task {run.task!r} is still {run.state}")
