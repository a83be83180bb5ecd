"""An event and a sweep among a million suspended runs, against the same among a thousand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

from bench.contest import Bench, Comparison, alternate
from bench.crowd import NAME, Crowd, crowd
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.events import send_event
from trigger_celery_django.models import Run

BAR = 1.5
FEW = 1_000


def measure(bench: Bench) -> list[Comparison]:
    """Compare milliseconds of an event that wakes one run, and of a sweep that finds nothing."""
    many, size = bench.size(1_000_000, 20_000), bench.size(100, 10)
    with crowd(FEW) as few, crowd(many) as all_:
        return [
            _comparison(bench, name, f"the same with {FEW:,}, not {many:,}", side, few, all_)
            for name, side in (
                ("event-million", partial(_event, size)),
                ("sweep-million", partial(_sweep, size)),
            )
        ]


def _comparison(
    bench: Bench, name: str, against: str, side: Callable[[Crowd], float], few: Crowd, many: Crowd
) -> Comparison:
    for each in (few, many):  # prepare the statements, learn the shapes
        side(each)
    found = alternate({"many": partial(side, many), "few": partial(side, few)}, rounds=bench.rounds)
    return Comparison(
        name=name, against=against, unit="ms", ours=found["many"], reference=found["few"], bar=BAR
    )


def _event(size: int, among: Crowd) -> float:
    """Return the median of one event's milliseconds: stored, matched, its run queued."""
    found = []
    for payload in among.add(size):
        began = time.perf_counter()
        send_event(among.engine, NAME, payload)
        found.append(time.perf_counter() - began)
    woken = Run.objects.using(among.alias).filter(state="queued")
    if (count := woken.count()) != size:
        raise AssertionError(f"{size} events woke {count} runs")
    woken.delete()
    return median(found) * 1_000


def _sweep(size: int, among: Crowd) -> float:
    """Return the median of one sweep's milliseconds."""
    found = []
    for _ in range(size):
        began = time.perf_counter()
        sweep(among.engine)
        found.append(time.perf_counter() - began)
    return median(found) * 1_000
