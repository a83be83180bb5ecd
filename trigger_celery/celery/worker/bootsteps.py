"""What every worker does for durable runs beside executing them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ctypes import c_bool
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import Celery, bootsteps, signals
from celery._state import _get_active_apps, connect_on_app_finalize  # type: ignore[attr-defined]
from celery.worker import state as worker_state

from trigger_celery.celery.worker import sweeping
from trigger_celery.celery.worker.own_tasks import CANCEL, consumed_queue
from trigger_celery.celery.worker.pools import PoolStep
from trigger_celery.celery.worker.unknown_tasks import UnknownTaskStep
from trigger_celery.engine.core import Engine

logger = logging.getLogger("trigger_celery.worker")

BATCH = 500
"""Revoked ids in one message at most."""

# Shared memory, made before the pool forks: the main process makes its children drain.
_draining = RawValue(c_bool, False)

is_draining: Callable[[], bool] = partial(getattr, _draining, "value")
"""Whether this worker is shutting down: runs are handed back at their next boundary."""


class RevokedIds:
    """Ids that this worker has revoked: a suspended run has no message to drop."""

    def __init__(self) -> None:
        self._handled: set[str] = set()
        self._expired: set[str] = set()

    def note(self, request: Any = None, expired: bool = False, **kwargs: object) -> None:
        """Leave out a message that expired: Celery puts its id among the revoked ones too."""
        if expired:
            self._expired.add(request.id)

    def fresh(self) -> list[str]:
        """Return the ids revoked since :meth:`handled` was called for them."""
        revoked = worker_state.revoked.as_dict()
        self._handled &= revoked.keys()  # Celery forgets ids after a while
        self._expired &= revoked.keys()
        return sorted(revoked.keys() - self._handled - self._expired)

    def handled(self, ids: list[str]) -> None:
        """Note that these ids need nothing more."""
        self._handled.update(ids)


class RevokedStep(bootsteps.StartStopStep):
    """Has the runs canceled whose ids this worker has revoked.

    The main process only publishes: the pool cancels them, with its connections.
    """

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        self._entries: list[Any] = []
        self._uid = f"trigger_celery.revoked.{id(self)}"
        self._revoked = RevokedIds()
        super().__init__(parent, **kwargs)

    def start(self, parent: Any) -> None:
        """Begin to tick; called in the worker's main process."""
        _draining.value = False
        signals.task_revoked.connect(self._revoked.note, weak=False, dispatch_uid=self._uid)
        self._entries.append(parent.timer.call_repeatedly(1.0, self._cancel, (parent.app,)))

    def stop(self, parent: Any) -> None:
        """Tick no more."""
        signals.task_revoked.disconnect(dispatch_uid=self._uid)
        while self._entries:
            self._entries.pop().cancel()

    def _cancel(self, app: Celery) -> None:
        ids = self._revoked.fresh()
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            if not _send(app, CANCEL, (some, "revoked")):
                return
            self._revoked.handled(some)


class SoftShutdownStep(bootsteps.Step):
    """Hands runs back when a soft shutdown begins; Celery's signal comes when its time is over."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        wait = parent.wait_for_soft_shutdown

        def drain_and_wait() -> None:
            _drain()
            wait()

        parent.wait_for_soft_shutdown = drain_and_wait


def _send(app: Celery, name: str, args: tuple[Any, ...]) -> bool:
    """Publish one of our own tasks; a broker that is away is tried again at the next tick."""
    try:
        app.send_task(name, args, queue=consumed_queue(app), retry=False, ignore_result=True)
    except Exception as error:
        logger.debug("%s was not published: %s", name, error)
        return False
    return True


def connect(engine: Engine) -> None:
    """Add our steps to every worker, a sweeper to every beat, and listen for shutdowns."""
    sweeping.connect(engine)
    connect_on_app_finalize(_prepare_app)
    for app in _get_active_apps():
        if app.finalized:
            _prepare_app(app)
    signals.worker_shutting_down.connect(_drain, dispatch_uid="trigger_celery.drain")


def _prepare_app(app: Celery) -> None:
    steps = (RevokedStep, sweeping.SweeperStep, PoolStep, SoftShutdownStep)
    app.steps["worker"].update(steps)
    app.steps["consumer"].add(UnknownTaskStep)


def _drain(**kwargs: Any) -> None:
    _draining.value = True
