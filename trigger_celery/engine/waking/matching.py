"""Brings events and waits together, from both sides.

Both sides commit first and then look: the emitter looks for waits, the waiter for events,
so one of them sees the other. A side that dies in between left a mark (an event that is
not noted as matched, a wait without a look so far), and the sweep looks in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking import subscriptions
from trigger_celery.engine.waking.subscriptions import start_runs
from trigger_celery.errors import DecodeError
from trigger_celery.ports import Waits
from trigger_celery.values.filters import matches, payload_hashes
from trigger_celery.vocabulary.records import Audience, Candidate, Nudge, StoredEvent

logger = logging.getLogger("trigger_celery.run")

BATCH = subscriptions.BATCH
PROBES = 50
"""So many hashes are looked up at a time, each by a scan of its own. Of more than these one
statement says first which are waited for: a payload with a long list has many."""
MANY = 10_000
"""So many hashes that statement is given at a time."""
NAMES = 1_000
"""Of so many event names a process remembers the shapes of waits."""


def match_event(engine: Engine, event: StoredEvent) -> int:
    """Start all runs that a committed event starts and end all open waits that it matches.

    Returns how many runs it started or woke. Safe to repeat and to run twice at once: a run
    is created once, and a wait has one outcome.
    """
    payload = engine.codec.decode(event.payload)
    audience, hashes = _audience(engine, event, payload)
    moved = start_runs(engine, event, payload, audience.subscriptions)
    crowded = audience.crowded
    for batch, last in _batches(engine, event.name, audience.candidates, hashes):
        chosen = [
            each for each in batch if matches(each.filter, event.source, payload, engine.codec)
        ]
        if chosen:
            moved += _wake(engine, event, chosen, crowded=crowded, last=last)
        elif last:
            engine.patient.events.matched(event.sequence)
        crowded = True  # of the batches that follow none was read
    return moved


def _wake(
    engine: Engine, event: StoredEvent, chosen: Sequence[Candidate], *, crowded: bool, last: bool
) -> int:
    """Give each of the waits the first stored event it matches, at the latest this one.

    A wait whose run has looked for it already was compared with all events before, but for
    those that are still to be matched; another one's stored events are looked at here.
    """
    unlooked = {each.run_id for each in chosen if not each.looked}
    moved = 0
    for wait in chosen:
        if wait.run_id in unlooked:
            moved += _nudged(engine, first_match(engine, wait))
    waits = [each for each in chosen if each.run_id not in unlooked]
    if waits and crowded:
        moved += _wake_by_earlier(engine, event, waits)
    ids = [each.wait_id for each in waits]
    if ids or last:
        moved += _nudged(engine, engine.patient.waits.resolve(event.sequence, ids, matched=last))
    return moved


def _wake_by_earlier(engine: Engine, event: StoredEvent, waits: Sequence[Candidate]) -> int:
    """Give the waits the earlier events that they match, whose senders are late or died."""
    moved, after = 0, 0
    while True:
        events = engine.patient.events.ahead(
            event.name, before=event.sequence, after=after, limit=BATCH
        )
        for earlier, payload in _readable(engine, events):
            ids = [
                each.wait_id
                for each in waits
                if matches(each.filter, earlier.source, payload, engine.codec)
            ]
            if ids:
                moved += _nudged(engine, engine.patient.waits.resolve(earlier.sequence, ids))
        if len(events) < BATCH:
            return moved
        after = events[-1].sequence


def _nudged(engine: Engine, nudges: Sequence[Nudge]) -> int:
    engine.dispatcher.nudge(nudges)
    return len(nudges)


def _audience(engine: Engine, event: StoredEvent, payload: object) -> tuple[Audience, list[int]]:
    """Return what the event may concern, and the hashes of all waits that it may end.

    One question answers all as long as this process knows the shapes of the waits on this
    name. The answer says what they are, and the process asks for the waits again if there are
    others: a wait of a shape that is newer still was made after the event, and its own worker
    looks.
    """
    name = event.name
    known = engine.shapes.get(name, ())
    hashes = _hashes(engine, name, known, payload)
    few = hashes if len(hashes) <= PROBES else ()
    audience = engine.patient.events.audience(name, few, before=event.sequence, limit=BATCH)
    if set(audience.shapes) != set(known):
        if len(engine.shapes) >= NAMES:
            engine.shapes.clear()
        engine.shapes[name] = tuple(audience.shapes)
        hashes = _hashes(engine, name, audience.shapes, payload)
        few = ()
    if hashes and not few:
        hashes = _awaited(engine, name, hashes)
        candidates = _candidates(engine, name, hashes[:PROBES], after=0) if hashes else ()
        audience = replace(audience, candidates=candidates, crowded=True)
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


def _awaited(engine: Engine, name: str, hashes: list[int]) -> list[int]:
    """Return the hashes that waits have, or all if they are few enough to be looked up at once."""
    if len(hashes) <= PROBES:
        return hashes
    found: list[int] = []
    for first in range(0, len(hashes), MANY):
        found += engine.patient.waits.awaited(name, hashes[first : first + MANY])
    return found


def _hashes(engine: Engine, name: str, shapes: Iterable[str], payload: object) -> list[int]:
    found = [payload_hashes(name, paths, payload, engine.codec) for paths in shapes]
    return sorted(set().union(*found))


def probes(engine: Engine, name: str, payload: object) -> Iterator[list[int]]:
    """Return the hashes of all waits that an event may end, so many at a time."""
    shapes = engine.patient.waits.shapes(name)
    hashes = _awaited(engine, name, _hashes(engine, name, shapes, payload))
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
        for event, payload in _readable(engine, events):
            if matches(wait.filter, event.source, payload, engine.codec):
                nudges = waits.resolve(event.sequence, [wait.wait_id])
                if nudges or not _is_open(waits, wait):
                    return nudges
        if len(events) < BATCH:
            return []
        after = events[-1].sequence


def _readable(
    engine: Engine, events: Iterable[StoredEvent]
) -> Iterator[tuple[StoredEvent, object]]:
    """Yield the events with their payloads; one that cannot be read must not hold up a run."""
    for event in events:
        try:
            payload = engine.codec.decode(event.payload)
        except DecodeError:  # its text may quote the payload
            logger.error("the payload of event %s cannot be read by this process", event.id)
            continue
        yield event, payload


def _is_open(waits: Waits, wait: Candidate) -> bool:
    still_open = waits.open(wait.run_id)
    return any(each.wait_id == wait.wait_id for each in still_open)
