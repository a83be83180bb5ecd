"""What the engine and its clients ask of a run by its id: get, cancel, retry, recover."""

from __future__ import annotations

from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import consequences
from trigger_celery.errors import RunCanceled, RunNotFound
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.records import Run


def get(engine: Engine, run_id: UUID) -> Run:
    """Return a run. Raises :exc:`RunNotFound`."""
    run = engine.store.runs.get(run_id)
    if run is None:
        raise RunNotFound(f"no run has the id {run_id}")
    return run


def record_of(by: str, reason: str) -> dict[str, str]:
    """Return what a history keeps of a call: its author and the reason."""
    return {name: text for name, text in (("by", by), ("reason", reason)) if text}


def cancel(engine: Engine, run_id: UUID, reason: str = "", *, by: str = "") -> bool:
    """Cancel a run; return False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    Its children that close with it are canceled too.
    """
    error = to_text(describe(RunCanceled(reason or "canceled")))
    nudge = engine.patient.runs.cancel(run_id, error, record_of(by, reason))
    if nudge is not None:
        consequences.of_end(engine, [nudge])
        consequences.close_soon(engine, run_id)
    return nudge is not None


def retry(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> None:
    """Queue a failed run again: its finished steps keep their checkpoints.

    Raises ``RunNotFound`` or ``IllegalTransition``.
    """
    engine.dispatcher.nudge([engine.patient.runs.retry(run_id, record_of(by, reason))])


def recover(engine: Engine, run_id: UUID, worker: str) -> bool:
    """Take a run from a worker that is known to have died; False if it was not that worker's."""
    nudge = engine.patient.runs.recover(run_id, worker)
    if nudge is not None:
        consequences.of_end(engine, [nudge])
    return nudge is not None
