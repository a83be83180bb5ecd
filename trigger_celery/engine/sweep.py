"""One bounded pass that finds what is due, lost or late and moves it on."""

from __future__ import annotations

import logging

from trigger_celery.engine.app import Engine
from trigger_celery.engine.matching import look_back, match_event
from trigger_celery.records import Lease

logger = logging.getLogger("trigger_celery.sweep")

ROUNDS = 50
"""At most so many batches a pass: a backlog goes fast and a pass still ends."""


def sweep(engine: Engine) -> int:
    """Move on what time alone moves; return how many runs and events were looked at.

    Any number may run in parallel: each row is taken by one of them.
    """
    config = engine.config
    moved = 0
    for _ in range(ROUNDS):
        due = engine.store.sweeps.due(
            limit=config.sweep_batch, nudge_interval=config.nudge_interval
        )
        engine.dispatcher.nudge(due.nudges)
        for lease in due.unlooked:
            _look_back(engine, lease)
        moved += len(due)
        if len(due) < config.sweep_batch:
            break
    return moved + _match_left_over(engine)


def _look_back(engine: Engine, lease: Lease) -> None:
    try:
        look_back(engine, lease)
    except Exception:  # one bad event must not hold up the others
        logger.exception("run %s: no look at the stored events", lease.run_id)


def _match_left_over(engine: Engine) -> int:
    """Match events whose sender died between its commit and its look at the waits."""
    config = engine.config
    left = engine.store.events.unmatched(older_than=config.nudge_interval, limit=config.sweep_batch)
    for event in left:
        try:
            match_event(engine, event)
        except Exception:  # one bad event must not hold up the others
            logger.exception("event %s (%s) could not be matched", event.id, event.name)
    return len(left)
