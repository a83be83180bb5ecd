"""Deletes events whose time is over, a bounded piece at a time."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.engine.core import Engine

BATCH = 500
PAUSE = 60.0
"""Seconds from the end of one round to the next."""
GRACE = timedelta(hours=1)
"""Runs find no event that is past its time, but one that was found just before may still be
given to a wait: so it is there for a while longer."""


def purge_events(engine: Engine) -> None:
    """Look at the next few events and delete those whose time is over.

    Events stay while a wait refers to them, and until they were matched.
    """
    purging, now = engine.purging, engine.clock.monotonic()
    if now < purging.not_before:
        return
    older_than = engine.config.event_retention + GRACE
    purging.after = engine.store.events.purge(
        older_than=older_than, after=purging.after, limit=BATCH
    )
    if not purging.after:
        purging.not_before = now + PAUSE
