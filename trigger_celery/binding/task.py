"""The Celery task class of durable tasks: calls create runs, messages execute them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from celery import Task, signals
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore
from celery.result import AsyncResult
from celery.states import SUCCESS
from kombu.exceptions import EncodeError

from trigger_celery.authoring.context import current_session
from trigger_celery.authoring.definition import TaskDefinition
from trigger_celery.authoring.durations import duration, instant
from trigger_celery.binding import canvas
from trigger_celery.binding.dispatcher import NUDGE_HEADER
from trigger_celery.engine.app import Engine
from trigger_celery.engine.facade import installed_engine
from trigger_celery.engine.outcome import Executed, Finished, Left
from trigger_celery.engine.runner import execute, published
from trigger_celery.engine.trigger import trigger
from trigger_celery.errors import RetryAfter, RunError, UsageError
from trigger_celery.identity import new_id
from trigger_celery.records import Run
from trigger_celery.states import RunState

logger = logging.getLogger("trigger_celery.task")

SUSPENDED = "SUSPENDED"
"""The Celery state of a run that waits."""
EXECUTED = "trigger_executed"
"""Attribute of a worker's request: what became of the run it executed."""


class DurableTask(Task[Any, Any]):
    """A Celery task whose calls create runs. Made by ``@durable_task``, not by hand."""

    abstract = True
    typing = False
    acks_late = False
    max_retries = 0
    Request = "trigger_celery.binding.request:DurableRequest"
    durable: TaskDefinition

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Create a run in the caller's transaction; return the ``AsyncResult`` of its id.

        Takes what Celery's own takes. ``countdown`` (seconds) and ``eta`` (an aware time)
        become the run's start time in the database. Raises ``TypeError`` for arguments the
        task does not take, ``UsageError`` for options a durable run cannot honour and the
        codec's errors, all before anything is written.
        """
        preset = {key: value for key, value in self._get_exec_options().items() if value}
        run_id = trigger(
            installed_engine(),
            self.durable,
            tuple(args or ()),
            kwargs or {},
            id=self._run_id(task_id),
            delay=duration(countdown or 0, "countdown"),
            available_at=None if eta is None else instant(eta, "eta"),
            canvas=canvas.save({**preset, **options, "link": link, "link_error": link_error}),
        )
        return self.AsyncResult(str(run_id))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Do what :meth:`apply_async` does: a run commits with the caller's transaction."""
        self.apply_async(*args, **kwargs)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Do what ``delay`` does: a run commits with the caller's transaction."""
        self.apply_async(args, kwargs)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> NoReturn:
        """End this attempt of the run; its policy decides whether there is another.

        Works as in Celery for ``bind=True`` tasks; the checkpoints of finished steps stay.
        """
        if countdown is None and eta is None:
            if exc is not None:
                raise exc
            raise RunError(f"task {self.name!r} asked for a retry")
        delay = duration(countdown or 0, "countdown")
        if eta is not None:
            delay = max(timedelta(0), eta - datetime.now(eta.tzinfo))
        raise RetryAfter(delay, f"task {self.name!r} asked for a retry") from exc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Execute the run that a worker's message names; anywhere else, call the function."""
        request = self.request
        if request.called_directly or request.is_eager or hasattr(request, EXECUTED):
            return self._body()(*args, **kwargs)
        engine = installed_engine()
        run_id = UUID(request.id)
        setattr(request, EXECUTED, None)
        if getattr(request, NUDGE_HEADER, None) is None:
            self._adopt(engine, run_id, args, kwargs)
        try:
            executed = execute(
                engine, run_id, self.durable, body=self._body(), publish=self._owes
            )
        except Exception:
            # Not the run's failure: a body's exceptions are settled in there. The run is
            # still queued, or its lease expires, and it is tried again.
            logger.exception("run %s could not be executed by this worker", run_id)
            raise Ignore from None
        setattr(request, EXECUTED, executed)
        if executed.run is not None:
            canvas.restore(canvas.load(executed.run.canvas), request)
        return self._tell_celery(executed)

    def _tell_celery(self, executed: Executed) -> Any:
        """Return or raise what makes Celery publish the end of the run, or keep still."""
        request = self.request
        if isinstance(executed, Left):
            self._show_left(executed)
            raise Ignore
        if not executed.owed:
            raise Ignore
        if executed.state is RunState.CANCELED:
            self.backend.mark_as_revoked(
                request.id, str(executed.error), request=request, store_result=True
            )
            published(installed_engine(), executed)
            raise Ignore
        if executed.error is not None:
            raise executed.error
        return executed.value

    def _show_left(self, left: Left) -> None:
        """Store the Celery state of a run that goes on later, if anybody keeps results."""
        if left.run is None or left.state is not RunState.SUSPENDED or self._ignores(left.run):
            return
        if left.reason == "retrying":
            self.backend.mark_as_retry(
                self.request.id, RunError("waiting for its next attempt"), request=self.request
            )
        else:
            self.backend.store_result(self.request.id, None, SUSPENDED, request=self.request)

    def _owes(self, run: Run) -> bool:
        """Whether the end of the run has to be told to Celery."""
        return not self._ignores(run) or canvas.owes_callbacks(canvas.load(run.canvas))

    def _ignores(self, run: Run) -> bool:
        ignored = canvas.load(run.canvas).get("ignore_result", self.ignore_result)
        return bool(ignored) or isinstance(self.backend, DisabledBackend)

    def _body(self) -> Any:
        """Return what a segment calls, bound to this task if it was declared so."""
        body = self.durable.body
        if not self.durable.bound:
            return body
        return lambda *args, **kwargs: body(self, *args, **kwargs)

    def _run_id(self, task_id: str | None) -> UUID:
        if task_id is not None:
            try:
                return UUID(task_id)
            except ValueError:
                raise UsageError(
                    f"expected task_id of durable task {self.name!r} to be a UUID, got: {task_id!r}"
                ) from None
        session = current_session()
        if session is None or session.in_step:
            return new_id()
        return session.child_id(self.name)

    def _adopt(self, engine: Engine, run_id: UUID, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Create the run of a message that was published without one, by name."""
        saved = canvas.from_request(self.request)
        trigger(engine, self.durable, tuple(args), kwargs, id=run_id, canvas=saved)


def confirm(task: Any = None, state: str = "", retval: Any = None, **_: Any) -> None:
    """Note after the tracer is done that result and callbacks of a finished run are out.

    If Celery itself failed to publish a success, nothing is confirmed: the sweep has the
    run published again. A result that Celery cannot encode is not tried again.
    """
    if not isinstance(task, DurableTask):
        return
    executed = getattr(task.request, EXECUTED, None)
    if not isinstance(executed, Finished) or executed.state is RunState.CANCELED:
        return
    told = state == SUCCESS if executed.error is None else bool(state)
    if told or isinstance(retval, EncodeError):
        published(installed_engine(), executed)


signals.task_postrun.connect(confirm, dispatch_uid="trigger_celery.confirm", weak=False)
