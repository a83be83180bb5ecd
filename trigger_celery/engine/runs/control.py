"""What the engine and its clients ask of a run by its id: get, cancel, retry, recover."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import consequences
from trigger_celery.errors import RunCanceled, RunNotFound
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Nudge, Run

T = TypeVar("T")

CALL = "call"
"""Under this name a history entry keeps the number of the call that made it."""


def get(engine: Engine, run_id: UUID) -> Run:
    """Return a run. Raises :exc:`RunNotFound`."""
    run = engine.patient.runs.get(run_id)
    if run is None:
        raise no_run(run_id)
    return run


def no_run(run_id: UUID) -> RunNotFound:
    """Return the error of a run that is not there."""
    return RunNotFound(f"no run has the id {run_id}")


def record_of(by: str, reason: str) -> dict[str, str]:
    """Return what a history keeps of a call: its author and the reason."""
    return {name: text for name, text in (("by", by), ("reason", reason)) if text}


def cancel(engine: Engine, run_id: UUID, reason: str = "", *, by: str = "") -> bool:
    """Cancel a run; return False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    Its children that close with it are canceled too.
    """
    error = to_text(describe(RunCanceled(reason or "canceled")))
    nudge = _once(
        engine,
        run_id,
        record_of(by, reason),
        lambda record: engine.store.runs.cancel(run_id, error, record),
    )
    if nudge is not None:
        engine.after_commit(lambda: _canceled(engine, nudge))
    return nudge is not None


def _canceled(engine: Engine, nudge: Nudge) -> None:
    consequences.of_end(engine, [nudge])
    consequences.close_soon(engine, nudge.run_id)


def retry(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> None:
    """Queue a failed run again: its finished steps keep their checkpoints.

    Raises ``RunNotFound`` or ``IllegalTransition``.
    """
    nudge = _once(
        engine,
        run_id,
        record_of(by, reason),
        lambda record: engine.store.runs.retry(run_id, record),
    )
    assert nudge is not None, "a run that is not retried raises"
    engine.dispatcher.nudge([nudge])


def pause(engine: Engine, run_id: UUID, record: Mapping[str, str]) -> bool:
    """Keep a run from going on until it is resumed; False if it was paused already."""
    paused = _once(
        engine, run_id, record, lambda noted: engine.store.managing.pause(run_id, noted) or None
    )
    return paused is not None


def resume(engine: Engine, run_id: UUID, record: Mapping[str, str]) -> bool:
    """Let a paused run go on; False if it was not paused, or has ended."""
    nudge = _once(engine, run_id, record, lambda noted: engine.store.managing.resume(run_id, noted))
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
    return nudge is not None


def reschedule(
    engine: Engine,
    run_id: UUID,
    record: Mapping[str, str],
    *,
    delay: timedelta = timedelta(0),
    available_at: datetime | None = None,
) -> None:
    """Give a delayed run another start. Raises as the verb of the store does."""

    def attempt(noted: Mapping[str, str]) -> Nudge:
        verb = engine.store.managing.reschedule
        return verb(run_id, noted, delay=delay, available_at=available_at)

    nudge = _once(engine, run_id, record, attempt)
    if nudge is not None and available_at is None and not delay:
        engine.dispatcher.nudge([nudge])


def _once(
    engine: Engine,
    run_id: UUID,
    record: Mapping[str, str],
    attempt: Callable[[Mapping[str, str]], T],
) -> T | Nudge:
    """Do what a person asks of a run, once, though the answer to its commit may get lost.

    The run's history keeps the number of the call. A repeat that finds it there does nothing
    again and returns the run's nudge.
    """
    call = new_token()

    def ask(again: bool) -> T | Nudge:
        if again and is_noted(engine, run_id, call):
            run = get(engine, run_id)
            return Nudge(run_id=run.id, task=run.task, canvas=run.spec.canvas)
        return attempt({**record, CALL: call})

    return engine.resolve(ask)


def is_noted(engine: Engine, run_id: UUID, call: str) -> bool:
    """Whether the history of a run has the number of a call; within work that is repeated."""
    return any(call in entry.data for entry in engine.store.runs.history(run_id))


def recover(engine: Engine, run_id: UUID, worker: str) -> bool:
    """Take a run from a worker that is known to have died; False if it was not that worker's."""
    nudge = engine.patient.runs.recover(run_id, worker)
    if nudge is not None:
        consequences.of_end(engine, [nudge])
    return nudge is not None
