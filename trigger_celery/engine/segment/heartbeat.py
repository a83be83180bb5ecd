"""Extends a lease at once, from wherever the body is."""

from __future__ import annotations

import logging
from threading import Thread

from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.segment.effects import in_event_loop
from trigger_celery.errors import StoreUnavailable

logger = logging.getLogger("trigger_celery.run")


def renew_now(engine: Engine, held: Holding) -> None:
    """Renew the lease; a database that is away does not disturb the caller."""
    if not in_event_loop():
        _renew(engine, held)
        return
    helper = Thread(target=_renew_apart, args=(engine, held), name="trigger-celery-heartbeat-now")
    helper.start()  # Django refuses to use a connection in a thread with an event loop
    helper.join()


def _renew(engine: Engine, held: Holding) -> None:
    try:
        engine.leases.renew([held])
    except StoreUnavailable as error:
        logger.warning("heartbeat of run %s failed: %s", held.lease.run_id, error)


def _renew_apart(engine: Engine, held: Holding) -> None:
    try:
        _renew(engine, held)
    finally:
        engine.store.release()
