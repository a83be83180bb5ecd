"""Executes runs in this process as a worker would, without a broker."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import Any
from uuid import UUID

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Executed


@cache
def quiet_engine() -> Engine:
    """Return the engine that Django installed, publishing nothing."""
    return replace(installed_engine(), dispatcher=NullDispatcher())


def create(task: Any, *args: object) -> UUID:
    """Create a run of a durable task."""
    return trigger(quiet_engine(), task.durable, args)


def timed(task: Any, run_id: UUID) -> tuple[float, Executed]:
    """Execute one segment; return its seconds and what became of it."""
    started = time.perf_counter()
    executed = execute(quiet_engine(), run_id, task.durable)
    return time.perf_counter() - started, executed


def execute_new(task: Any, *args: object) -> float:
    """Create a run, execute it to its end and return the seconds that this end took."""
    seconds, executed = timed(task, create(task, *args))
    if executed.state is None or not executed.state.terminal:
        raise AssertionError(f"the run was not completed: {executed}")
    return seconds
