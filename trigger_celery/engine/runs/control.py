"""What a person or a supervisor may ask of a run: cancel, retry, recover, pause, reschedule."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues import admission
from trigger_celery.engine.runs import children
from trigger_celery.errors import InvalidTime, RunCanceled, RunNotFound
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.checks import duration, instant
from trigger_celery.vocabulary.records import Run


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
    nudge = engine.patient.runs.cancel(run_id, error, told(by, reason))
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
        notifications.ended_elsewhere(engine, [nudge])
        admission.freed(engine, run_id)
        children.close_soon(engine, run_id)
    return nudge is not None


def retry(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> None:
    """Queue a failed run again: its finished steps keep their checkpoints.

    Raises ``RunNotFound`` or ``IllegalTransition``.
    """
    engine.dispatcher.nudge([engine.patient.runs.retry(run_id, told(by, reason))])


def recover(engine: Engine, run_id: UUID, worker: str) -> bool:
    """Take a run from a worker that is known to have died; False if it was not that worker's."""
    nudge = engine.patient.runs.recover(run_id, worker)
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
        notifications.ended_elsewhere(engine, [nudge])
        admission.freed(engine, run_id)
    return nudge is not None


def pause(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> bool:
    """Keep a run from going on; return False if it was paused already.

    An executing run learns of it when its lease is renewed, at the latest after a third of
    ``heartbeat_timeout``, and is handed back at its next boundary. Its waits may end
    meanwhile, and its ``max_duration`` goes on counting.

    Raises ``RunNotFound``, or ``IllegalTransition`` if it has ended.
    """
    return engine.patient.managing.pause(run_id, told(by, reason))


def resume(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> bool:
    """Let a paused run go on; return False if it was not paused, or has ended.

    Raises ``RunNotFound``.
    """
    nudge = engine.patient.managing.resume(run_id, told(by, reason))
    if nudge is not None:
        engine.dispatcher.nudge([nudge])
    return nudge is not None


def reschedule(
    engine: Engine,
    run_id: UUID,
    delay: timedelta | float | datetime,
    *,
    by: str = "",
    reason: str = "",
) -> None:
    """Let a delayed run start so long from now, or at an aware ``datetime`` to come.

    Its time to live counts from the new start. Raises ``RunNotFound``, ``InvalidTime``, or
    ``IllegalTransition`` if its time has come or it has been started.
    """
    verb = partial(engine.patient.managing.reschedule, run_id, told(by, reason))
    if isinstance(delay, datetime):
        available_at = instant(delay, "the new start")
        if available_at <= engine.store.now():
            raise InvalidTime(
                f"expected the new start to be a time to come, got: {available_at.isoformat()}"
            )
        verb(available_at=available_at)
        return
    length = duration(delay, "the new delay")
    nudge = verb(delay=length)
    if not length:
        engine.dispatcher.nudge([nudge])
