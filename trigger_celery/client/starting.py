"""Starts runs for whoever asks: at once in plain code, as a recorded step in a task's body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import line_of
from trigger_celery.client.handles import RunHandle
from trigger_celery.config import suggest
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import Request, new_run, start
from trigger_celery.errors import UnknownTask
from trigger_celery.vocabulary.records import StepKind


def start_one(engine: Engine, request: Request, *, frame: Any) -> Any:
    """Start a run and return its handle; in a body the awaitable or the value of a step."""

    def begin(id_of: Callable[[int], UUID | None]) -> RunHandle[Any]:
        return _start(engine, [request], id_of)[0]

    return _in_context(engine, [request], f"trigger {request.definition.name}", begin, frame)


def start_batch(engine: Engine, requests: Sequence[Request], name: str, *, frame: Any) -> Any:
    """Start runs, all of them or none, and return their handles; see :func:`start_one`."""

    def begin(id_of: Callable[[int], UUID | None]) -> list[RunHandle[Any]]:
        return _start(engine, requests, id_of)

    return _in_context(engine, requests, f"trigger {name}", begin, frame)


def find_task(engine: Engine, name: str) -> TaskDefinition:
    """Return the definition of a task by its name. Raises :exc:`UnknownTask`."""
    definition = engine.task(name)
    if definition is None:
        known = {task.name: None for task in engine.tasks}
        hint = suggest(name, known) if known else "; none is declared"
        raise UnknownTask(
            f"no durable task of this process is called {name!r}{hint}. A task is known once "
            "its module was imported: import it, or let autodiscover_tasks() of your Celery app "
            "find it"
        )
    return definition


def _start(
    engine: Engine, requests: Sequence[Request], id_of: Callable[[int], UUID | None]
) -> list[RunHandle[Any]]:
    named = [replace(each, id=each.id or id_of(n)) for n, each in enumerate(requests)]
    return [
        RunHandle(id=started.id, task=each.definition.name, created=started.created)
        for each, started in zip(named, start(engine, named), strict=True)
    ]


def _in_context(
    engine: Engine,
    requests: Sequence[Request],
    name: str,
    begin: Callable[[Callable[[int], UUID | None]], object],
    frame: Any,
) -> Any:
    session = current_session()
    if session is None or session.in_step:
        return begin(lambda number: None)
    for request in requests:
        new_run(engine, request)  # a mistake of the body is no failure of a step

    def call() -> object:
        run = session.describe()
        # The same ids if the worker dies before this step is recorded.
        return begin(lambda number: uuid5(run.id, f"{run.idempotency_key}#{number}"))

    source = line_of(frame)
    return session.step(
        StepCall(name=name, kind=StepKind.TRIGGER, fn=call, kwargs={}, source=source)
    )
