"""Executes runs of bound tasks where no worker does: the test kit has no messages to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from celery.app import app_or_default
from celery.app.task import Context

from trigger_celery.celery.retrying import RUN_ATTEMPTS
from trigger_celery.celery.task import DurableTask, body_of
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import decode_input
from trigger_celery.engine.segment.outcome import Executed
from trigger_celery.vocabulary.records import Run


def execute_in_process(engine: Engine, run_id: UUID, definition: TaskDefinition) -> Executed:
    """Execute a run in this thread; the ``self`` of a bound task is as a worker gives it.

    That is the Celery task, whose ``request`` has the run's id, its arguments and how often it
    was tried before.
    """
    if not definition.bound:
        return execute(engine, run_id, definition)
    task = bound_task(definition)
    with _request(task, run_id, engine.worker()) as request:
        return execute(
            engine,
            run_id,
            definition,
            body=body_of(task, definition),
            publish=partial(_claimed, engine, request),
        )


def bound_task(definition: TaskDefinition) -> DurableTask[..., Any]:
    """Return the Celery task of a definition; a new one, of no app's, if it has none."""
    app = app_or_default()
    known = app.tasks.get(definition.name)
    if isinstance(known, DurableTask) and known.durable == definition:
        return known
    attributes = {
        "name": definition.name,
        "durable": definition,
        "run": staticmethod(definition.fn),
        "__module__": definition.fn.__module__,
        "__doc__": definition.fn.__doc__,
    }
    kind: Any = type(definition.fn.__name__, (DurableTask,), attributes)
    kind.bind(app)
    task: DurableTask[..., Any] = kind()
    return task


@contextmanager
def _request(task: Any, run_id: UUID, worker: str) -> Iterator[Any]:
    """Let the task have a request like that of a worker's message."""
    request = Context(
        id=str(run_id),
        task=task.name,
        root_id=str(run_id),
        correlation_id=str(run_id),
        hostname=worker,
        called_directly=False,
        is_eager=False,
        delivery_info={},
    )
    task.request_stack.push(request)
    try:
        yield request
    finally:
        task.request_stack.pop()


def _claimed(engine: Engine, request: Any, run: Run) -> bool:
    """Note what only a claim knows; there is no result backend that the end is published to."""
    request.args, request.kwargs = decode_input(engine, run.spec.input)
    request.retries = run.attempt - 1
    setattr(request, RUN_ATTEMPTS, run.spec.max_attempts)
    return False
