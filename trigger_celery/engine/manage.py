"""What a person or a supervisor may ask of a run: cancel, retry, recover."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from trigger_celery.engine import children, notify, queues
from trigger_celery.engine.app import Engine
from trigger_celery.errors import RunCanceled, RunNotFound
from trigger_celery.records import Run
from trigger_celery.values.failures import describe, to_text


def get(engine: Engine, run_id: UUID) -> Run:
    """Return a run. Raises :exc:`RunNotFound`."""
    run = engine.store.runs.get(run_id)
    if run is None:
        raise RunNotFound(f"no run has the id {run_id}")
    return run


def told(by: str, reason: str) -> dict[str, str]:
    """Return what the history of a run says of who asked for a change, and why."""
    return {name: text for name, text in (("by", by), ("reason", reason)) if text}


def cancel(engine: Engine, run_id: UUID, reason: str = "", *, by: str = "") -> bool:
    """Cancel a run; return False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    Its children that close with it are canceled too.
    """
    error = to_text(describe(RunCanceled(reason or "canceled")))
    verb = partial(engine.store.runs.cancel, run_id, error, told(by, reason))
    nudge = engine.persist(verb)
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
        notify.ended_elsewhere(engine, [nudge])
        queues.freed(engine, run_id)
        children.close_soon(engine, run_id)
    return nudge is not None


def retry(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> None:
    """Queue a failed run again: its finished steps keep their checkpoints.

    Raises ``RunNotFound`` or ``IllegalTransition``.
    """
    engine.dispatcher.nudge([engine.store.runs.retry(run_id, told(by, reason))])


def recover(engine: Engine, run_id: UUID, worker: str) -> bool:
    """Take a run from a worker that is known to have died; False if it was not that worker's."""
    nudge = engine.persist(partial(engine.store.runs.recover, run_id, worker))
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
        notify.ended_elsewhere(engine, [nudge])
        queues.freed(engine, run_id)
    return nudge is not None
