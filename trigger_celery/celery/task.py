"""The Celery task class of durable tasks: calls create runs, messages execute them."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import async_to_sync
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, TaskRevokedError
from celery.result import AsyncResult
from celery.states import REVOKED

from trigger_celery.body.context import current_session
from trigger_celery.celery import canvas, results
from trigger_celery.celery.call_options import take_ours
from trigger_celery.celery.dispatcher import NUDGE_HEADER
from trigger_celery.celery.generic import GenericTask
from trigger_celery.celery.request import REVOKED_HEADER
from trigger_celery.celery.results import Teller
from trigger_celery.celery.task_body import body_of, retry_error
from trigger_celery.client.installed import installed_engine
from trigger_celery.client.starting import Triggering, create_runs
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute, published
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import Request, trigger
from trigger_celery.engine.segment.outcome import Executed, Finished, Left
from trigger_celery.errors import UsageError
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger("trigger_celery.task")

EXECUTED = "trigger_executed"
"""Attribute of a worker's request: what became of the run it executed."""
TELLS = "trigger_tells"
"""Attribute of a worker's request: the tracer is about to publish the end of its run."""


class DurableTask(Triggering[P, R], GenericTask[P, R]):
    """A Celery task whose calls create runs. Made by ``@durable_task``, not by hand."""

    abstract = True
    typing = False
    acks_late = False
    max_retries = 0
    # Celery would store STARTED for every message, also over the result of a finished run.
    track_started = False
    Request = "trigger_celery.celery.request:DurableRequest"
    durable: TaskDefinition
    tracks_started: bool | None = None

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
    ) -> AsyncResult[R]:
        """Create a run in the caller's transaction; return the ``AsyncResult`` of its id.

        Takes what Celery's own takes, and trigger options but for ``delay``; ``queue`` as text
        is the broker's. ``countdown`` (seconds) and ``eta`` (an aware time) say when the run may
        start. Raises ``TypeError`` for arguments the task does not take, the codec's errors and
        ``UsageError`` for options a durable run cannot honour, before anything is written.
        """
        if not isinstance(args or (), (list, tuple)):
            raise TypeError(f"expected args of task {self.name!r} to be a list, got: {args!r}")
        ours = take_ours(options, countdown=countdown, eta=eta)
        own = canvas.with_parent(self.app, {**options, "link": link, "link_error": link_error})
        request = Request(
            definition=self.durable,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            id=self._run_id(task_id),
            options=ours,
            canvas=canvas.save({**canvas.declared(self), **own}),
        )
        [run] = create_runs(installed_engine(), [request])
        result = self.AsyncResult(str(run.id))
        result.ignored = bool(options.get("ignore_result", self.ignore_result))
        parent = self.app.current_worker_task
        if parent is not None and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

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
        raise retry_error(self.name, exc, eta=eta, countdown=countdown)

    def replace(self, sig: Any) -> NoReturn:
        """Refuse: the run keeps its id, its history and its callbacks until it ends."""
        raise UsageError(
            f"durable task {self.name!r} cannot be replaced by another: trigger that one, or "
            "return and let a chain or a link= go on"
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Execute the run that a worker's message names; anywhere else, call the function."""
        request = self.request
        value: R
        if request.called_directly or hasattr(request, EXECUTED):
            value = body_of(self, self.durable)(*args, **kwargs)
        elif request.is_eager:
            body = body_of(self, self.durable)
            value = (async_to_sync(body) if self.durable.is_async else body)(*args, **kwargs)
        else:
            setattr(request, EXECUTED, None)
            value = self._tell_celery(self._execute(self._run_id(request.id), args, kwargs))
        return value

    def _execute(self, run_id: UUID, args: Any, kwargs: Mapping[str, Any]) -> Executed:
        engine, request = installed_engine(), self.request
        if getattr(request, NUDGE_HEADER, None) is None:
            self._adopt(engine, run_id, args, kwargs)
        try:
            if getattr(request, REVOKED_HEADER, None) is not None:
                run_control.cancel(engine, run_id, "revoked")
            executed = execute(
                engine,
                run_id,
                self.durable,
                body=body_of(self, self.durable),
                publish=self._claimed,
            )
        except Exception:
            # Not the run's failure: a body's exceptions are settled in there. The run is
            # still queued, or its lease expires, and it is tried again.
            logger.exception("run %s could not be executed by this worker", run_id)
            raise Ignore from None
        setattr(request, EXECUTED, executed)
        if executed.run is not None:
            canvas.restore(canvas.load(executed.run.spec.canvas), request)
        return executed

    def _tell_celery(self, executed: Executed) -> Any:
        """Return or raise what makes Celery publish the end of the run, or keep still."""
        try:
            if isinstance(executed, Left):
                if executed.run is not None and not self._ignores(executed.run):
                    results.left(self, executed, installed_engine())
            elif executed.state is RunState.CANCELED and executed.owed:
                self._tell_revoked(executed)
        except Exception:
            # An end that is not published is published again by the sweep.
            logger.exception("the state of run %s could not be shown", self.request.id)
            raise Ignore from None
        if isinstance(executed, Left) or executed.state is RunState.CANCELED:
            raise Ignore
        setattr(self.request, TELLS, True)
        if executed.error is not None:
            raise executed.error
        return executed.value

    @property
    def backend(self) -> Any:
        """The result backend; while the end of a run is told, one that forgives failures."""
        backend = super().backend
        request = self.request_stack.top
        if not getattr(request, TELLS, False):
            return backend
        return Teller(backend, installed_engine(), partial(setattr, request, EXECUTED, None))

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def _tell_revoked(self, executed: Finished) -> None:
        """Store REVOKED for the run and what was chained to it: a chord must not hang."""
        request: Any = self.request
        self.backend.mark_as_failure(
            request.id,
            TaskRevokedError(str(executed.error)),
            request=request,
            store_result=not self._ignores(executed.run),
            call_errbacks=False,
            state=REVOKED,
        )
        published(installed_engine(), executed)

    def _claimed(self, run: Run) -> bool:
        """Note that the run is ours now; return whether its end has to be told to Celery."""
        request: Any = self.request
        request.retries = run.attempt - 1
        ignores = self._ignores(run)
        tracks = self.tracks_started
        if not ignores and (self.app.conf.task_track_started if tracks is None else tracks):
            results.started(self)
        return not ignores or canvas.owes_callbacks(canvas.load(run.spec.canvas))

    def _ignores(self, run: Run) -> bool:
        ignored = canvas.load(run.spec.canvas).get("ignore_result", self.ignore_result)
        return bool(ignored) or isinstance(self.backend, DisabledBackend)

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
        create = partial(trigger, engine, self.durable, tuple(args), kwargs, canvas=saved)
        engine.persist(partial(create, id=run_id))


if TYPE_CHECKING:

    class AsyncDurableTask(DurableTask[P, R]):
        """A durable task of an ``async def``: called directly, it returns the coroutine."""

        def __call__(  # type: ignore[override]  # the body's own type
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]: ...
