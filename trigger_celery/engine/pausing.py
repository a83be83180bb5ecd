"""Holds a run, lets it go on, and moves the start of a delayed one."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from trigger_celery.authoring.durations import duration, instant
from trigger_celery.engine.app import Engine
from trigger_celery.engine.manage import told
from trigger_celery.errors import InvalidTime


def pause(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> bool:
    """Keep a run from going on; return False if it was paused already.

    An executing run learns of it when its lease is renewed, at the latest after a third of
    ``heartbeat_timeout``, and is handed back at its next boundary. Its waits may end
    meanwhile, and its ``max_duration`` goes on counting.

    Raises ``RunNotFound``, or ``IllegalTransition`` if it has ended.
    """
    return engine.persist(partial(engine.store.managing.pause, run_id, told(by, reason)))


def resume(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> bool:
    """Let a paused run go on; return False if it was not paused, or has ended.

    Raises ``RunNotFound``.
    """
    nudge = engine.persist(partial(engine.store.managing.resume, run_id, told(by, reason)))
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
    verb = partial(engine.store.managing.reschedule, run_id, told(by, reason))
    if isinstance(delay, datetime):
        available_at = instant(delay, "the new start")
        if available_at <= engine.store.now():
            raise InvalidTime(
                f"expected the new start to be a time to come, got: {available_at.isoformat()}"
            )
        engine.persist(partial(verb, available_at=available_at))
        return
    length = duration(delay, "the new delay")
    nudge = engine.persist(partial(verb, delay=length))
    if not length:
        engine.dispatcher.nudge([nudge])
