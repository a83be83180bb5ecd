"""Brings events and waits together, from both sides.

Both sides commit first and then look: the emitter looks for waits, the waiter for events,
so one of them sees the other. A side that dies in between left a mark (an event that is
not noted as matched, a wait that nobody looked for), and the sweep looks in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking import subscriptions
from trigger_celery.engine.waking.subscriptions import start_runs, started_id
from trigger_celery.errors import DecodeError
from trigger_celery.ports import Waits
from trigger_celery.values.filters import matches, payload_hashes
from trigger_celery.vocabulary.records import Audience, Candidate, Event, Nudge

logger = logging.getLogger("trigger_celery.run")

BATCH = subscriptions.BATCH
PROBES = 50
"""So many hashes are looked up in one statement: a payload with a long list has many."""
NAMES = 1_000
"""Of so many event names a process remembers the shapes of waits."""


def match_event(engine: Engine, event: Event) -> int:
    """Start all runs that a committed event starts and end all open waits that it matches.

    Returns how many runs it started or woke. Safe to repeat and to run twice at once: a run
    is created once, and a wait has one outcome.
    """
    payload = engine.codec.decode(event.payload)
    audience, hashes = _audience(engine, event.name, payload)
    started, moved = start_runs(engine, event, payload, audience.subscriptions)
    for batch, last in _batches(engine, event.name, audience.candidates, hashes):
        # The waits of runs that the event has started are not its own.
        chosen = [
            each.wait_id
            for each in batch
            if each.run_id not in started and matches(each.filter, payload, engine.codec)
        ]
        if chosen:
            nudges = engine.patient.waits.resolve(event.sequence, chosen, matched=last)
            engine.dispatcher.nudge(nudges)
            moved += len(nudges)
        elif last:
            engine.patient.events.matched(event.sequence)
    return moved


def _audience(engine: Engine, name: str, payload: object) -> tuple[Audience, list[int]]:
    """Return whom the event may concern, and the hashes of all waits that it may end.

    One question answers all as long as this process knows the shapes of the waits on this
    name. It is told what they are, and asks for the waits again if there are others: a wait
    of a shape that is newer still was made after the event, and its own worker looks.
    """
    known = engine.shapes.get(name, ())
    hashes = _hashes(engine, name, known, payload)
    audience = engine.patient.events.audience(name, hashes[:PROBES], limit=BATCH)
    if set(audience.shapes) != set(known):
        if len(engine.shapes) >= NAMES:
            engine.shapes.clear()
        engine.shapes[name] = tuple(audience.shapes)
        hashes = _hashes(engine, name, audience.shapes, payload)
        candidates = _candidates(engine, name, hashes[:PROBES], after=0) if hashes else ()
        audience = replace(audience, candidates=candidates)
    return audience, hashes


def _batches(
    engine: Engine, name: str, first: Sequence[Candidate], hashes: Sequence[int]
) -> Iterator[tuple[Sequence[Candidate], bool]]:
    """Yield all candidates, of which the first are there, and whether a batch is the last."""
    batch, place = first, 0
    while True:
        full = len(batch) >= BATCH
        last = not full and place + PROBES >= len(hashes)
        yield batch, last
        if last:
            return
        after = batch[-1].wait_id if full else 0
        place += 0 if full else PROBES
        batch = _candidates(engine, name, hashes[place : place + PROBES], after=after)


def _candidates(
    engine: Engine, name: str, hashes: Sequence[int], *, after: int
) -> Sequence[Candidate]:
    return engine.patient.waits.candidates(name, hashes, after=after, limit=BATCH)


def _hashes(engine: Engine, name: str, shapes: Iterable[str], payload: object) -> list[int]:
    found = [payload_hashes(name, paths, payload, engine.codec) for paths in shapes]
    return sorted(set().union(*found))


def probes(engine: Engine, name: str, payload: object) -> Iterator[list[int]]:
    """Return the hashes of all waits that an event may end, so many at a time."""
    shapes = engine.patient.waits.shapes(name)
    hashes = _hashes(engine, name, shapes, payload)
    for first in range(0, len(hashes), PROBES):
        yield hashes[first : first + PROBES]


def first_match(engine: Engine, wait: Candidate) -> Sequence[Nudge]:
    """Give the wait the first stored event it matches; events go by sequence.

    Another process may give that event to another wait of the run meanwhile: then the wait
    is still open, and the events behind it are its own.
    """
    waits = engine.patient.waits
    after = 0
    while True:
        events = waits.unseen_events(wait.run_id, wait.name, after=after, limit=BATCH)
        for event in events:
            if _may_end(engine, wait, event) and not _started(engine, wait.run_id, event):
                nudges = waits.resolve(event.sequence, [wait.wait_id])
                if nudges or not _is_open(waits, wait):
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


def _started(engine: Engine, run_id: UUID, event: Event) -> bool:
    """Whether the event has started the run, which has it already."""
    run = engine.patient.runs.get(run_id)
    return run is not None and started_id(run.task, event) == run_id


def _is_open(waits: Waits, wait: Candidate) -> bool:
    still_open = waits.open(wait.run_id)
    return any(each.wait_id == wait.wait_id for each in still_open)
