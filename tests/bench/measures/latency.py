"""From the trigger to the first step on an idle worker, against a plain Celery task."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any
from uuid import uuid4

from bench import queues
from bench.bench_tasks import first_step, plain_stamp
from bench.contest import Bench, Comparison, alternate
from bench.counters import counters

BAR = 2.0
PLAIN = "plain Celery task"
ROUNDS_OF_SAMPLES = 5
SETTLE = 0.02
"""Seconds after a sample: the end of a run must not disturb the next one."""


def measure(bench: Bench) -> list[Comparison]:
    """Compare the medians of samples that take turns."""
    samples = bench.size(200, 20) // ROUNDS_OF_SAMPLES
    found: dict[str, tuple[float, ...]] = {}
    with queues.warm_worker(bench):
        for _ in range(ROUNDS_OF_SAMPLES):
            singles = alternate(
                {"ours": partial(_sample, first_step), PLAIN: partial(_sample, plain_stamp)},
                rounds=samples,
            )
            middles = {name: (median(numbers),) for name, numbers in singles.items()}
            peers = alternate(bench.peer_sides("latency", samples), rounds=1)
            for name, numbers in {**middles, **peers}.items():
                found[name] = (*found.get(name, ()), *numbers)
    ours = found.pop("ours")
    return [
        Comparison(
            name="latency",
            against=name,
            unit="ms p50",
            ours=ours,
            reference=numbers,
            bar=BAR if name == PLAIN else None,
        )
        for name, numbers in found.items()
    ]


def _sample(task: Any) -> float:
    batch = f"latency-{uuid4().hex}"
    sent = time.time()
    task.delay(batch)
    seconds = counters().wait(batch) - sent
    time.sleep(SETTLE)
    return seconds * 1_000
