"""What ``task_always_eager`` means for durable tasks: a call executes its run in the caller.

The run is stored as any other. One that waits stays suspended: nothing resumes it here but the
test kit's ``drain()``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from celery import Task
from celery.exceptions import Ignore
from celery.result import AsyncResult

from trigger_celery.celery.dispatcher import silent
from trigger_celery.client.access import installed_engine
from trigger_celery.client.starting import create_runs
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import Request, trigger
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import TransactionOpen
from trigger_celery.vocabulary.states import RunState

R = TypeVar("R")
logger = logging.getLogger("trigger_celery.task")


def started(task: Task[..., R], request: Request, *, link: Any, link_error: Any) -> AsyncResult[R]:
    """Create a run, execute it and return its result, as Celery's own calls do.

    In the caller's transaction nothing can be executed before the commit: then the run follows
    it, and its ``AsyncResult`` is returned.
    """
    with silent():
        [run] = create_runs(installed_engine(), [request], "delay")
    apply: Any = partial(
        task.apply,
        tuple(request.args),
        dict(request.kwargs),
        task_id=str(run.id),
        link=link,
        link_error=link_error,
    )
    store = installed_engine().store
    try:
        store.check_boundary("a run that is executed by its caller")
    except TransactionOpen:
        store.when_others_commit(partial(store.on_commit, apply))
        return task.AsyncResult(str(run.id))
    now: AsyncResult[R] = apply()
    return now


def carry_out(
    task: Any,
    request: Any,
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Execute the run of an eager request as far as it goes; return what it returned.

    Raises its failure, and ``Ignore`` for one that waits, was canceled or is another worker's.
    """
    engine, run_id = installed_engine(), UUID(request.id)
    # A part of a chain has none yet; one that there is already is left alone.
    with silent():
        trigger(engine, task.durable, tuple(args), kwargs, id=run_id)
    executed = execute(engine, run_id, task.durable, body=body)
    if isinstance(executed, Left):
        logger.warning(
            "run %s of task %s was left (%s): under task_always_eager nothing resumes it, "
            "trigger_celery_django.testing.drain() does",
            run_id,
            task.name,
            executed.reason,
        )
        raise Ignore
    if executed.state is RunState.CANCELED:
        raise Ignore
    if executed.error is not None:
        raise executed.error
    return executed.value
