"""Creates a run with the caller's work and nudges a worker once that is committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery.authoring.definition import TaskDefinition
from trigger_celery.engine.app import Engine
from trigger_celery.identity import new_id
from trigger_celery.records import NewRun, Nudge


def trigger(
    engine: Engine,
    definition: TaskDefinition,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    id: UUID | None = None,
    delay: timedelta = timedelta(0),
    available_at: datetime | None = None,
    canvas: str = "",
) -> UUID:
    """Create a run in the caller's transaction and return its id.

    A run that exists under ``id`` already is left alone. ``delay`` or ``available_at``
    says from when on it may start; ``canvas`` is what the dispatcher must know of it.

    Raises ``TypeError`` for arguments the task does not take, and the codec's errors,
    before anything is written.
    """
    definition.check_arguments(args, kwargs or {})
    run = NewRun(
        id=id or new_id(),
        task=definition.name,
        input=encode_input(engine, definition.name, args, kwargs or {}),
        canvas=canvas,
        delay=delay,
        available_at=available_at,
        max_crashes=definition.max_crashes or engine.config.max_crashes,
    )
    created = engine.store.runs.create([run])
    if created and not delay and available_at is None:
        nudge = Nudge(run_id=run.id, task=run.task, canvas=canvas)
        engine.store.on_commit(partial(engine.dispatcher.nudge, [nudge]))
    return run.id


def encode_input(
    engine: Engine, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    """Return the text of a run's input."""
    value = [list(args), dict(kwargs)]
    return engine.codec.encode(value, what=f"the arguments of task {task!r}")


def decode_input(engine: Engine, text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments of a stored input."""
    pair: Any = engine.codec.decode(text)
    return pair[0], pair[1]
