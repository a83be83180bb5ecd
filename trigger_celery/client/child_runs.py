"""Runs that a body asks for and waits for, as tasks and options name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from trigger_celery.body.children import Together, start_and_wait
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import Request, new_run
from trigger_celery.errors import WaitCycle
from trigger_celery.vocabulary.records import NewRun


def run_together(
    engine: Engine, task: str, requests: Sequence[Request], how: Together, *, frame: Any
) -> Any:
    """Start runs of ``task`` from a body and wait for them; return what they returned.

    Raises ``WaitCycle`` for a key, and what :func:`~trigger_celery.engine.runs.trigger.trigger`
    raises before any of them is started, and what
    :func:`~trigger_celery.body.children.start_and_wait` raises.
    """
    build = partial(_runs, engine, requests)
    return start_and_wait(task, build, len(requests), how, frame=frame)


def _runs(engine: Engine, requests: Sequence[Request]) -> list[NewRun]:
    return [_run(engine, request) for request in requests]


def _run(engine: Engine, request: Request) -> NewRun:
    options = request.options.over(request.definition.defaults)
    for name in ("idempotency_key", "debounce"):
        if getattr(options, name) is not None:
            raise WaitCycle(
                f"a run of task {request.definition.name!r} that is waited for takes no {name}: "
                "it is started once anyway, and the run that a key gives may be one that waits for "
                "this one"
            )
    closes = options.parent_close != "abandon"
    return replace(new_run(engine, request), closes_with_parent=closes)
