"""What every worker and beat does for durable runs beside executing them."""

from __future__ import annotations

import logging
from multiprocessing import get_context
from typing import Any

from celery import Celery, bootsteps, signals
from celery._state import _get_active_apps, connect_on_app_finalize  # type: ignore[attr-defined]
from celery.worker import state as worker_state

from trigger_celery.engine.app import Engine

logger = logging.getLogger("trigger_celery.worker")

SWEEP = "trigger_celery.sweep"
CANCEL = "trigger_celery.cancel"
EXPIRES = 10
"""Seconds after which an undelivered sweep message is pointless: later ones do its work."""

# Shared memory, made before the pool forks: the main process tells its children to drain.
_draining = get_context("fork").RawValue("b", 0)


def is_draining() -> bool:
    """Whether this worker is shutting down: runs are handed back at their next boundary."""
    return bool(_draining.value)


class SweepStep(bootsteps.StartStopStep):
    """Publishes the sweep message from the worker's timer, so that beat is not needed.

    The main process only publishes: the sweep runs in the pool, with its connections.
    """

    requires = ("celery.worker.components:Timer",)
    engine: Engine

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        self._entry: Any = None
        self._cancels = RevokedRuns()
        super().__init__(parent, **kwargs)

    def start(self, parent: Any) -> None:
        """Begin to tick; called in the worker's main process."""
        config = self.engine.config
        _draining.value = 0
        if config.sweep_on_worker and config.sweep_interval:
            seconds = config.sweep_interval.total_seconds()
            self._entry = parent.timer.call_repeatedly(seconds, self._tick, (parent.app,))

    def stop(self, parent: Any) -> None:
        """Tick no more."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def _tick(self, app: Celery) -> None:
        try:
            app.send_task(SWEEP, expires=EXPIRES, retry=False, ignore_result=True)
            for run_id in self._cancels.new():
                app.send_task(CANCEL, (run_id, "revoked"), retry=False, ignore_result=True)
        except Exception as error:  # the broker is away: the next tick tries again
            logger.debug("sweep message not published: %s", error)


class RevokedRuns:
    """The ids that were revoked since one last looked: a suspended run has no message to revoke."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def new(self) -> list[str]:
        """Return ids revoked since the last call."""
        revoked = worker_state.revoked
        if len(revoked) == len(self._seen):
            return []
        now = {item for item in revoked if isinstance(item, str)}
        fresh = sorted(now - self._seen)
        self._seen = now
        return fresh


def connect(engine: Engine) -> None:
    """Add the timer to every worker, the entry to every beat, and listen for shutdowns."""
    SweepStep.engine = engine
    connect_on_app_finalize(_prepare_app)
    for app in _get_active_apps():
        if app.finalized:
            _prepare_app(app)
    signals.worker_shutting_down.connect(_drain, dispatch_uid="trigger_celery.drain")


def _prepare_app(app: Celery) -> None:
    app.steps["worker"].add(SweepStep)
    interval = SweepStep.engine.config.sweep_interval
    if interval and not _is_scheduled(app):
        app.add_periodic_task(
            interval.total_seconds(),
            app.signature(SWEEP, options={"expires": EXPIRES}),
            name="trigger-celery-sweep",
        )


def _is_scheduled(app: Celery) -> bool:
    """Whether the user's own schedule names the sweep."""
    schedule = app.conf.beat_schedule or {}
    return any(entry.get("task") == SWEEP for entry in schedule.values())


def _drain(**kwargs: Any) -> None:
    _draining.value = 1
