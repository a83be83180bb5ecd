"""Matches events whose sender died between its commit and its look at the waits."""

from __future__ import annotations

import logging

from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.matching import match_event
from trigger_celery.errors import NotMigrated, StoreUnavailable
from trigger_celery.vocabulary.records import StoredEvent

logger = logging.getLogger("trigger_celery.sweep")

AWAY = (StoreUnavailable, NotMigrated)
"""What ends a pass, and not only the part of it that meets it."""

REMEMBERED = 10_000
"""Of so many events a process remembers that it could not match them."""


def match_left_over(engine: Engine, until: float) -> int:
    """Match a batch of left-over events, or as many as there is time for; return how many.

    The next pass goes on behind them, so those that cannot be matched hold up no other. They
    come again once all were looked at, and count for nothing: the part rests meanwhile.
    """
    config, place, matched = engine.config, engine.left_over, 0
    left = engine.store.events.unmatched(
        older_than=config.nudge_interval, after=place.after, limit=config.sweep_batch
    )
    for event in left:
        place.after = event.sequence
        matched += _match(engine, event)
        if engine.clock.monotonic() >= until:
            return max(matched, 1)
    if len(left) < config.sweep_batch:
        place.after = 0
        return matched
    return max(matched, 1)  # there may be good ones behind this batch


def _match(engine: Engine, event: StoredEvent) -> bool:
    failed = engine.left_over.failed
    try:
        match_event(engine, event)
    except AWAY:
        raise
    except Exception:  # one bad event must not hold up the others
        if event.sequence not in failed:  # else it was said before
            if len(failed) >= REMEMBERED:
                failed.clear()
            failed.add(event.sequence)
            logger.exception("event %s (%s) could not be matched", event.id, event.name)
        return False
    failed.discard(event.sequence)
    return True
