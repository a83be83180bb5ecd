"""What an ``AsyncResult`` shows of a run that has not ended: STARTED, SUSPENDED, RETRY.

Result backends take writes in any order: a worker that tells of a suspension may be slower
than the one that resumes the run and stores its result. So whoever wrote such a state looks
at the row afterwards, and if the run has ended meanwhile its end is stored again.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any
from uuid import UUID

from celery import Task, states

from trigger_celery.engine.app import Engine
from trigger_celery.engine.outcome import Left, stored_error
from trigger_celery.errors import RunError
from trigger_celery.states import RunState

logger = logging.getLogger("trigger_celery.task")

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


def left(task: Task[Any, Any], left: Left, engine: Engine) -> None:
    """Show where a run is that goes on later or elsewhere."""
    request: Any = task.request
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
