"""What an event would do if it were sent now; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trigger_celery.engine.core import Engine
from trigger_celery.engine.waking.matching import BATCH, probes
from trigger_celery.values.filters import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """``starts`` are the tasks of which a run would start, ``wakes`` counts the waits to end."""

    starts: tuple[str, ...]
    wakes: int


def preview_event(engine: Engine, name: str, payload: object, source: str = "") -> Preview:
    """Tell what an event of this name from this source would start and wake.

    A run that has several matching waits takes an event once, and is counted for each.
    """
    return Preview(
        starts=tuple(_starts(engine, name, payload, source)),
        wakes=sum(_wakes(engine, name, payload, source)),
    )


def _starts(engine: Engine, name: str, payload: object, source: str) -> Iterator[str]:
    after = ""
    while True:
        batch = engine.patient.subscriptions.of(name, after=after, limit=BATCH)
        for each in batch:
            if matches(each.filter, source, payload, engine.codec):
                yield each.task
        if len(batch) < BATCH:
            return
        after = batch[-1].task


def _wakes(engine: Engine, name: str, payload: object, source: str) -> Iterator[int]:
    for hashes in probes(engine, name, payload):
        after = 0
        while True:
            batch = engine.patient.waits.candidates(name, hashes, after=after, limit=BATCH)
            yield sum(matches(each.filter, source, payload, engine.codec) for each in batch)
            if len(batch) < BATCH:
                break
            after = batch[-1].wait_id
