"""What limits cost: a limited queue against one without limits, and many idle keys against few."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from uuid import uuid4

from bench import queues
from bench.bench_tasks import limited_queue, two_steps, unlimited_queue
from bench.contest import Bench, Comparison, alternate
from bench.counters import counters
from bench.idle_keys import IdleKeys, idle_keys
from trigger_celery import Queue

DRAIN_BAR = 0.7
KEYS_BAR = 1.5
BATCH = 500
"""So many runs are triggered at a time."""
FEW = 1_000


def measure(bench: Bench) -> list[Comparison]:
    """Compare runs a second, and the milliseconds of a claim with a slot and of the end."""
    return [_drained(bench), _claimed(bench)]


def _drained(bench: Bench) -> Comparison:
    size = bench.size(2_000, 60)
    with queues.warm_worker(bench):
        for queue in (limited_queue, unlimited_queue):
            _drain(queue, 2 * queues.WARM)
        found = alternate(
            {
                "limited": partial(_drain, limited_queue, size),
                "unlimited": partial(_drain, unlimited_queue, size),
            },
            rounds=bench.rounds,
        )
    return Comparison(
        name="limited",
        against="the same in a queue without limits",
        unit="runs/s",
        higher=True,
        ours=found["limited"],
        reference=found["unlimited"],
        bar=DRAIN_BAR,
    )


def _drain(queue: Queue, size: int) -> float:
    """Return runs a second, from before the first trigger to the last run's last step.

    Triggers count: without limits they publish all nudges, with them those of the first few.
    The others are published by the worker, as one run after another ends.
    """
    batch, began = f"limited-{uuid4().hex}/{size}", time.time()
    task = two_steps.options(queue=queue)
    for start in range(0, size, BATCH):
        task.batch_trigger([(batch,)] * min(BATCH, size - start))
    return size / (counters().wait(batch) - began)


def _claimed(bench: Bench) -> Comparison:
    many, size = bench.size(1_000_000, 20_000), bench.size(200, 10)
    with idle_keys(FEW) as few, idle_keys(many) as all_:
        for each in (few, all_):  # prepare the statements
            each.claims(size)
        found = alternate(
            {"many": partial(_claim, size, all_), "few": partial(_claim, size, few)},
            rounds=bench.rounds,
        )
    return Comparison(
        name="claim-keys",
        against=f"the same with {FEW:,} idle keys, not {many:,}",
        unit="ms",
        ours=found["many"],
        reference=found["few"],
        bar=KEYS_BAR,
    )


def _claim(size: int, among: IdleKeys) -> float:
    return median(among.claims(size)) * 1_000
