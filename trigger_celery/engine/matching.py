"""Brings events and waits together, from both sides.

Both sides commit first and then look: the emitter looks for waits, the waiter for events,
so one of them sees the other. A side that dies in between left a mark (an event that is
not noted as matched, a wait that nobody looked for), and the sweep looks in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from trigger_celery.engine.app import Engine
from trigger_celery.errors import DecodeError
from trigger_celery.ports import Waits
from trigger_celery.records import Candidate, Event, Lease, Nudge
from trigger_celery.values.filters import matches, payload_hash

logger = logging.getLogger("trigger_celery.run")

BATCH = 500


def match_event(engine: Engine, event: Event) -> int:
    """Let a committed event end all open waits it matches; return how many runs it woke.

    Safe to repeat and to run twice at once: a wait has one outcome.
    """
    waits = engine.store.waits
    payload = engine.codec.decode(event.payload)
    shapes = engine.persist(partial(waits.shapes, event.name))
    hashes = [payload_hash(event.name, paths, payload, engine.codec) for paths in shapes]
    probes = [value for value in hashes if value is not None]
    woken = _deliver(engine, event, payload, probes) if probes else 0
    engine.persist(partial(engine.store.events.matched, event.sequence))
    return woken


def _deliver(engine: Engine, event: Event, payload: object, probes: list[int]) -> int:
    waits = engine.store.waits
    after = woken = 0
    while True:
        probe = partial(waits.candidates, event.name, probes, after=after, limit=BATCH)
        batch = engine.persist(probe)
        chosen = [c.wait_id for c in batch if matches(c.filter, payload, engine.codec)]
        if chosen:
            nudges = engine.persist(partial(waits.resolve, event.sequence, chosen))
            engine.dispatcher.nudge(nudges)
            woken += len(nudges)
        if len(batch) < BATCH:
            return woken
        after = batch[-1].wait_id


def look_back(engine: Engine, lease: Lease) -> bool:
    """Compare the open event waits of a suspended run with events stored already.

    Returns whether one of them ended a wait and queued the run.
    """
    waits = engine.store.waits
    nudges: list[Nudge] = []
    for wait in engine.persist(partial(waits.open, lease.run_id)):
        nudges += _first_match(engine, waits, wait)
    if nudges:
        engine.dispatcher.nudge(nudges)
    else:
        engine.persist(partial(waits.looked, lease.run_id, fence=lease.fence))
    return bool(nudges)


def _first_match(engine: Engine, waits: Waits, wait: Candidate) -> Sequence[Nudge]:
    """Give the wait the first stored event it matches; events go by sequence.

    Another process may give that event to another wait of the run meanwhile: then the wait
    is still open, and the events behind it are its own.
    """
    after = 0
    while True:
        look = partial(waits.unseen_events, wait.run_id, wait.name, after=after, limit=BATCH)
        events = engine.persist(look)
        for event in events:
            if _may_end(engine, wait, event):
                nudges = engine.persist(partial(waits.resolve, event.sequence, [wait.wait_id]))
                if nudges or not _is_open(engine, waits, wait):
                    return nudges
        if len(events) < BATCH:
            return []
        after = events[-1].sequence


def _may_end(engine: Engine, wait: Candidate, event: Event) -> bool:
    """Whether the event matches; one that this process cannot read must not hold up the run."""
    try:
        payload = engine.codec.decode(event.payload)
    except DecodeError:  # its text may quote the payload
        logger.error("the payload of event %s cannot be read by this process", event.id)
        return False
    return matches(wait.filter, payload, engine.codec)


def _is_open(engine: Engine, waits: Waits, wait: Candidate) -> bool:
    still_open = engine.persist(partial(waits.open, wait.run_id))
    return any(each.wait_id == wait.wait_id for each in still_open)
