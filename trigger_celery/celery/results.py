"""What Celery's result backends learn of a run: started, suspended, retrying, how it ended."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from celery import Task, signals, states
from celery.states import FAILURE, RETRY, SUCCESS
from celery.utils.saferepr import saferepr
from celery.worker import state as worker_state
from kombu.exceptions import EncodeError

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import published
from trigger_celery.engine.segment.outcome import Finished, Left, stored_error
from trigger_celery.errors import RunError, StoreUnavailable
from trigger_celery.vocabulary.states import RunState

logger = logging.getLogger("trigger_celery.task")

EXECUTED = "trigger_executed"
"""Attribute of a worker's request: what became of the run it executed."""
HAS_INPUT = "trigger_has_input"
"""Attribute of a worker's request: it has the input of its run."""
SUSPENDED = "SUSPENDED"
"""The Celery state of a run that waits."""
_ENDS = {RunState.COMPLETED: states.SUCCESS, RunState.CANCELED: states.REVOKED}


def started(task: Task[Any, Any]) -> None:
    """Show that a worker executes the run, for tasks that track it."""
    request: Any = task.request
    data = {"pid": os.getpid(), "hostname": request.hostname or socket.gethostname()}
    try:
        task.backend.store_result(request.id, data, states.STARTED, request=request)
    except Exception as error:  # the run itself needs no result backend
        logger.warning("run %s is not shown as started: %s", request.id, error)


def show_input(
    task: Task[Any, Any], request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Put the input of a run where Celery's tracer, hooks, logs and results look for it.

    In place: the tracer hands out the very list and dictionary of the message. Extended results
    store them: what the backend cannot encode is a text there.
    """
    setattr(request, HAS_INPUT, True)
    if task.app.conf.result_extended and not _encodes(task.backend, [args, kwargs]):
        args = [saferepr(each) for each in args]
        kwargs = {name: saferepr(each) for name, each in kwargs.items()}
    if isinstance(request.args, list):
        request.args[:] = args
    else:
        request.args = list(args)
    if isinstance(request.kwargs, dict):
        request.kwargs.update(kwargs)
    else:
        request.kwargs = dict(kwargs)
    # Where the pool has threads the main process's own request is here: ``inspect active`` asks it.
    show: Any = getattr(worker_state.requests.get(request.id), "show_input", None)
    if show is not None:
        show(args, kwargs, request)


def _encodes(backend: Any, values: object) -> bool:
    try:
        backend.encode(values)
    except Exception:
        return False
    return True


def left(task: Task[Any, Any], left: Left, engine: Engine) -> None:
    """Show where a run is that goes on later or elsewhere.

    An attempt that failed is left to Celery's tracer.
    """
    request: Any = task.request
    if left.error is not None:
        return
    if left.state is RunState.SUSPENDED and left.reason == "retrying":
        waiting = RunError("waiting for its next attempt")
        task.backend.mark_as_retry(request.id, waiting, request=request)
    elif left.state is RunState.SUSPENDED:
        task.backend.store_result(request.id, None, SUSPENDED, request=request)
    _correct(task, engine)


def _correct(task: Task[Any, Any], engine: Engine) -> None:
    """Store the end of the run again if it has ended: ours may have been the later write."""
    request: Any = task.request
    run = engine.store.runs.get(UUID(request.id))
    if run is None or not run.state.terminal:
        return
    state = _ENDS.get(run.state, states.FAILURE)
    value: Any = stored_error(run)
    if run.state is RunState.COMPLETED:
        value = None if run.output is None else engine.codec.decode(run.output)
    task.backend.store_result(request.id, value, state, request=request)


PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each further try to store a result in the worker; after them the sweep helps."""


_OUTAGES = frozenset({"OperationalError", "InterfaceError", "ConnectionError", "TimeoutError"})
"""Names of the classes by which libraries of brokers, result backends and databases say it."""


def is_passing(error: Exception) -> bool:
    """Whether something is away now, and the same call may succeed later."""
    if isinstance(error, (OSError, StoreUnavailable)):
        return True
    return any(kind.__name__ in _OUTAGES for kind in type(error).__mro__)


class EndPublisher:
    """Stands in for a result backend while Celery's tracer publishes the end of one run.

    ``forget`` is called when that failed: the end must not be recorded as published then.
    """

    def __init__(self, backend: Any, engine: Engine, forget: Callable[[], None]) -> None:
        self._backend = backend
        self._engine = engine
        self._forget = forget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = SUCCESS,
    ) -> None:
        """Store a success, again when that fails: the callbacks are out already."""
        try:
            if store_result and not getattr(request, "ignore_result", False):
                self._store(task_id, result, state, request)
            # What is left is the part of a chord, which must not be counted twice.
            self._backend.mark_as_done(task_id, result, request, False, state)
        except EncodeError:
            raise
        except Exception as error:
            self._give_up(task_id, error)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """Store a failure; the errbacks go out after that, so the sweep may repeat all of it.

        An errback that cannot be called is logged: it could not be the next time either.
        """
        try:
            self._backend.mark_as_failure(
                task_id, exc, traceback, request, store_result, False, state
            )
            if call_errbacks and request and request.errbacks:
                self._call_errbacks(request, exc, traceback)
        except Exception as error:
            self._give_up(task_id, error)

    def _call_errbacks(self, request: Any, exc: BaseException, traceback: Any) -> None:
        """Call each by itself: Celery calls none after one that raises."""
        errbacks = request.errbacks
        try:
            for errback in errbacks:
                request.errbacks = [errback]
                try:
                    self._backend._call_task_errbacks(request, exc, traceback)
                except Exception as error:
                    if is_passing(error):
                        raise
                    name = errback.get("task")
                    logger.exception("errback %s of run %s cannot be called", name, request.id)
        finally:
            request.errbacks = errbacks

    def _store(self, task_id: str, result: Any, state: str, request: Any) -> None:
        for pause in PAUSES:
            try:
                self._backend.store_result(task_id, result, state, request=request)
            except EncodeError:
                raise
            except Exception as error:
                logger.warning("the result of run %s was not stored: %s", task_id, error)
                self._renew(pause)
            else:
                return
        self._backend.store_result(task_id, result, state, request=request)

    def _renew(self, pause: float) -> None:
        # The backend may be the database: a connection that was cut stays so until it is closed.
        self._engine.store.release()
        self._engine.clock.sleep(pause)

    def _give_up(self, task_id: str, error: Exception) -> None:
        self._forget()
        self._engine.store.release()
        logger.warning("the end of run %s will be published later: %s", task_id, error)


def record_published(task: Any = None, state: str = "", retval: Any = None, **_: Any) -> None:
    """Record, once the tracer is done, that result and callbacks of a finished run are published.

    If Celery itself failed to publish a success, nothing is recorded: the sweep has the
    run published again. A result that Celery cannot encode is not tried again.
    """
    if not hasattr(task, "durable"):
        return
    executed = getattr(task.request, EXECUTED, None)
    if state == RETRY and not task.request.ignore_result:
        _correct(task, installed_engine())
    if not isinstance(executed, Finished) or executed.state is RunState.CANCELED:
        return
    is_out = state == SUCCESS if executed.error is None else bool(state)
    if is_out or isinstance(retval, EncodeError):
        published(installed_engine(), executed)


def connect_recording() -> None:
    """Listen to Celery's tracer."""
    signals.task_postrun.connect(
        record_published, dispatch_uid="trigger_celery.published", weak=False
    )
