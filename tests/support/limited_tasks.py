"""Tasks in a limited queue, and a worker that executes what is nudged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.queue import Queue
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.testing import (
    Harness,
)
from trigger_celery.vocabulary.states import RunState

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NAP = 30


def body(value: object = None) -> object:
    return value


@step
def once() -> None:
    pass


def nap() -> None:
    sleep(NAP)


def limited(harness: Harness, fn: Callable[..., Any] = body, **limits: Any) -> TaskDefinition:
    """Return a task in a queue with these limits, that the store knows."""
    task = harness.task(fn, queue=Queue("emails", **limits))
    sync_declared(harness.engine)
    return task


def nudged(harness: Harness) -> list[UUID]:
    """Return the runs that the dispatcher got nudges of since the last call."""
    found = [nudge.run_id for nudge in harness.dispatcher.nudges]
    harness.dispatcher.nudges.clear()
    return found


def work(harness: Harness) -> None:
    """Be a worker: execute runs until no nudge is left. Time stands still, without sweeps."""
    while harness.dispatcher.nudges:
        harness.execute(harness.dispatcher.nudges.pop(0).run_id)


def states(harness: Harness, runs: Sequence[UUID]) -> set[RunState]:
    return {harness.run(run_id).state for run_id in runs}
