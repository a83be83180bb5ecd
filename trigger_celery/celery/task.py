"""The Celery task class of durable tasks: calls create runs, messages execute them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import async_to_sync
from celery import Task, signals
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, Retry, TaskRevokedError
from celery.result import AsyncResult
from celery.states import REVOKED

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import current_session
from trigger_celery.celery import canvas, results
from trigger_celery.celery.dispatcher import NUDGE_HEADER
from trigger_celery.celery.local import eager
from trigger_celery.celery.options import expiry, take_ours
from trigger_celery.celery.results import EXECUTED, HAS_INPUT, EndPublisher
from trigger_celery.celery.retrying import (
    MAX_RETRIES,
    RUN_ATTEMPTS,
    refuse_options,
    retry_of,
)
from trigger_celery.celery.worker.own_tasks import cancel_by_message
from trigger_celery.celery.worker.request import REVOKED_HEADER
from trigger_celery.celery.worker.tracer import durable_tracer
from trigger_celery.client.access import installed_engine
from trigger_celery.client.async_calls import in_thread
from trigger_celery.client.starting import Triggering, create_runs
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import NO_OPTIONS, TriggerOptions
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute, published
from trigger_celery.engine.process.patience import worker_patience
from trigger_celery.engine.runs.trigger import Request, decode_input, trigger
from trigger_celery.engine.segment.outcome import Executed, Finished, Left
from trigger_celery.errors import UsageError
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

if TYPE_CHECKING:
    GenericTask = Task
else:

    class GenericTask(Task):
        """Celery's task class, which takes type parameters at run time in later releases only."""

        abstract = True
        __class_getitem__ = classmethod(GenericAlias)


P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger("trigger_celery.task")

PUBLISHES_END = "trigger_publishes_end"
"""Attribute of a worker's request: the tracer is about to publish the end of its run."""


class DurableTask(canvas.Refusing, Triggering[P, R], GenericTask[P, R]):
    """A Celery task whose calls create runs. Made by ``@durable_task``, not by hand."""

    abstract = True
    typing = False
    acks_late = False
    # Celery would store STARTED for every message, also over the result of a finished run.
    track_started = False
    Request = "trigger_celery.celery.worker.request:DurableRequest"
    durable: TaskDefinition
    tracks_started: bool | None = None
    declared_retries: int | None = MAX_RETRIES
    declared_policy: RetryPolicy | None = None
    _tracer: Any = None

    @property
    def __trace__(self) -> Any:
        """What executes a message in a worker; whatever Celery sets, it is :mod:`.tracer`'s."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, tracer: Any) -> None:
        self._tracer = durable_tracer(self)

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

        Takes what Celery's own takes, and trigger options but for ``delay``; ``queue`` as text is
        the broker's. ``countdown`` (seconds) and ``eta`` (aware) say when the run may start,
        ``expires`` (seconds from now, or aware) until when. Before anything is written, raises
        ``TypeError`` for wrong arguments, the codec's errors, ``UsageError`` for options.
        """
        if not isinstance(args or (), (list, tuple)):
            raise TypeError(f"expected args of task {self.name!r} to be a list, got: {args!r}")
        given = options or countdown is not None or eta is not None
        ours = take_ours(options, countdown=countdown, eta=eta) if given else NO_OPTIONS
        own = canvas.with_parent(self.app, {**options, "link": link, "link_error": link_error})
        request = Request(
            definition=self.durable,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            id=self._run_id(task_id),
            options=ours,
            canvas=canvas.save({**canvas.declared(self), **own}),
        )
        if self.app.conf.task_always_eager:
            return eager.started(self, request, link=link, link_error=link_error)
        [run] = create_runs(installed_engine(), [request], "delay")
        return _result_of(self, run.id, options)

    async def aapply_async(
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> AsyncResult[Any]:
        """Do what :meth:`apply_async` does, in async code that is not a task's body."""
        return await in_thread(self.apply_async, args, kwargs, **options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[Any]:
        """Do what ``delay`` does, in async code that is not a task's body."""
        return await self.aapply_async(args, kwargs)

    def apply_async_on_commit(self, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        """Do what :meth:`apply_async` does, once the caller's transaction commits.

        A run is a part of that transaction, or follows it where that is on another database.
        """
        self.durable.check_arguments(tuple(args or ()), kwargs or {})
        call = partial(self.apply_async, args, kwargs, **options)
        installed_engine().store.when_others_commit(call)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Do what ``delay`` does, once the caller's transaction commits."""
        self.apply_async_on_commit(args, kwargs)

    @property
    def max_retries(self) -> int | None:  # type: ignore[override]  # Celery's is an attribute
        """How often ``self.retry()`` may ask: what the run's ``max_attempts`` or the task says."""
        attempts: int | None = getattr(self.request_stack.top, RUN_ATTEMPTS, None)
        return self.declared_retries if attempts is None else attempts - 1

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
        """End this attempt of the run and ask for another, as Celery's does.

        It comes after ``countdown`` seconds, at ``eta``, or after what the task declares; the
        checkpoints of finished steps stay. When ``max_retries``, or the task's own, are used
        up, raises ``exc`` or ``MaxRetriesExceededError``, which end the run. Raises
        :exc:`UsageError` for anything that would change the run: ``args``, ``queue`` and others.
        """
        refuse_options(self.name, {"args": args, "kwargs": kwargs, **options})
        if not throw:
            raise UsageError(f"task {self.name!r}: self.retry() takes no throw=False, it ends here")
        raise retry_of(self, exc, eta=eta, countdown=countdown, max_retries=max_retries)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Execute the run that a worker's message names; anywhere else, call the function."""
        request = self.request
        value: R
        if request.called_directly or hasattr(request, EXECUTED):
            canvas.refuse_several(self.name)
            value = body_of(self, self.durable)(*args, **kwargs)
        elif request.is_eager and self.app.conf.task_always_eager:
            value = eager.carry_out(self, request, body_of(self, self.durable), args, kwargs)
        elif request.is_eager:
            body = body_of(self, self.durable)
            value = (async_to_sync(body) if self.durable.is_async else body)(*args, **kwargs)
        else:
            setattr(request, EXECUTED, None)
            value = self._publish(self._execute(self._run_id(request.id), args, kwargs))
        return value

    @worker_patience()
    def _execute(self, run_id: UUID, args: Any, kwargs: Mapping[str, Any]) -> Executed:
        engine, request = installed_engine(), self.request
        if getattr(request, NUDGE_HEADER, None) is None:
            _adopt(self, engine, run_id, args, kwargs)
        try:
            if getattr(request, REVOKED_HEADER, None) is not None:
                cancel_by_message(engine, run_id, "revoked")
            executed = execute(
                engine,
                run_id,
                self.durable,
                body=partial(self._begin, request, body_of(self, self.durable)),
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
            if not hasattr(request, HAS_INPUT):  # published once more: no body was called
                args, kwargs = decode_input(engine, executed.run.spec.input)
                results.show_input(self, request, args, kwargs)
        return executed

    def _begin(self, request: Any, body: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Let Celery show the run's input, which no message carries, and call the body."""
        results.show_input(self, request, args, kwargs)
        return body(*args, **kwargs)

    def _publish(self, executed: Executed) -> Any:
        """Return or raise what makes Celery publish the end of the run, or nothing."""
        try:
            if isinstance(executed, Left):
                if executed.run is not None and not self._ignores(executed.run):
                    results.left(self, executed, installed_engine())
            elif executed.state is RunState.CANCELED and executed.owed:
                self._publish_revoked(executed)
        except Exception:
            # An end that is not published is published again by the sweep.
            logger.exception("the state of run %s could not be shown", self.request.id)
            raise Ignore from None
        if isinstance(executed, Left) and executed.error is not None:
            raise Retry(exc=executed.error, when=_seconds(executed.again)) from executed.error
        if isinstance(executed, Left) or executed.state is RunState.CANCELED:
            raise Ignore
        setattr(self.request, PUBLISHES_END, True)
        if executed.error is not None:
            raise executed.error
        return executed.value

    @property
    def backend(self) -> Any:
        """The result backend; while the end of a run is published, one that survives failures."""
        backend = super().backend
        request = self.request_stack.top
        if not getattr(request, PUBLISHES_END, False):
            return backend
        return EndPublisher(backend, installed_engine(), partial(setattr, request, EXECUTED, None))

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def _publish_revoked(self, executed: Finished) -> None:
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
        signals.task_revoked.send(
            sender=self, request=request, terminated=False, signum=None, expired=False
        )
        published(installed_engine(), executed)

    def _claimed(self, run: Run) -> bool:
        """Note that this worker has the run; return whether Celery must publish its end."""
        request: Any = self.request
        request.retries = run.attempt - 1
        canvas.restore_texts(canvas.load(run.spec.canvas), request)
        setattr(request, RUN_ATTEMPTS, run.spec.max_attempts)
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


if TYPE_CHECKING:

    class AsyncDurableTask(DurableTask[P, R]):
        """A durable task of an ``async def``: called directly, it returns the coroutine."""

        def __call__(  # type: ignore[override]  # the body's own type
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]: ...


def _result_of(
    task: DurableTask[..., R], run_id: UUID, options: Mapping[str, Any]
) -> AsyncResult[R]:
    """Return the result of a call, which a task that makes it gets as a child of its own."""
    result = task.AsyncResult(str(run_id))
    result.ignored = bool(options.get("ignore_result", task.ignore_result))
    if (parent := task.app.current_worker_task) and options.get("add_to_parent", True):
        parent.add_trail(result)
    return result


def _adopt(
    task: DurableTask[..., Any], engine: Engine, run_id: UUID, args: Any, kwargs: Mapping[str, Any]
) -> None:
    """Create the run of a message that was published without one, by name, if messages may."""
    if not engine.config.adopt_messages:
        text = "message %s of task %r is no nudge and starts no run: ADOPT_MESSAGES is off"
        logger.warning(text, run_id, task.name)
        return
    saved, expires = canvas.from_request(task.request), task.request.expires
    options = NO_OPTIONS if expires is None else TriggerOptions(ttl=expiry(expires))
    values = tuple(args), kwargs
    trigger(engine, task.durable, *values, id=run_id, options=options, canvas=saved)


def body_of(task: Task[Any, Any], definition: TaskDefinition) -> Callable[..., Any]:
    """Return the body of a durable task, to be called with the run's arguments."""
    if not definition.bound:
        return definition.body
    if definition.is_async:
        return _bound_coroutine(task, definition)
    return lambda *args, **kwargs: definition.body(task, *args, **kwargs)


def _bound_coroutine(task: Task[Any, Any], definition: TaskDefinition) -> Callable[..., Any]:
    """Give the body the worker's request: the event loop runs in a thread without one."""
    request = task.request

    async def body(*args: Any, **kwargs: Any) -> Any:
        task.request_stack.push(request)
        try:
            return await definition.body(task, *args, **kwargs)
        finally:
            task.request_stack.pop()

    return body


def _seconds(again: timedelta | datetime | None) -> Any:
    return again.total_seconds() if isinstance(again, timedelta) else again
