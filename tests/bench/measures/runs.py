"""Runs of five steps a second, against chains of five plain tasks on the same worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from celery import chain
from django.db import transaction

from bench import queues
from bench.bench_tasks import five_steps, plain_last, plain_noop
from bench.contest import Bench, Comparison, alternate
from bench.counters import counters

BAR = 2.0
CHAINS = "Celery chain of 5, not durable"


def measure(bench: Bench) -> list[Comparison]:
    """Compare runs a second, from a full queue to the last run's last step."""
    size = bench.size(400, 60)
    with queues.warm_worker(bench):
        found = alternate(
            {
                "ours": partial(_drain, size, _queue_runs),
                CHAINS: partial(_drain, size, _queue_chains),
                **bench.peer_sides("runs", size),
            },
            rounds=bench.rounds,
        )
    ours = found.pop("ours")
    return [
        Comparison(
            name="runs",
            against=name,
            unit="runs/s",
            higher=True,
            ours=ours,
            reference=numbers,
            bar=BAR if name == CHAINS else None,
        )
        for name, numbers in found.items()
    ]


def _drain(size: int, fill: Callable[[str, int], None]) -> float:
    """Fill the queue while the worker's processes are busy; return runs a second once they are not.

    The whole stretch counts: of chains that stand in one queue the first links all come
    first, so that their ends lie close together and a part of it would flatter them.
    """
    batch = f"runs-{uuid4().hex}/{size}"
    with queues.held_back():
        fill(batch, size)
        started = time.time()
    return size / (counters().wait(batch) - started)


def _queue_runs(batch: str, size: int) -> None:
    with transaction.atomic():  # one commit: the runs, and then all their nudges
        for _ in range(size):
            five_steps.delay(batch)


def _queue_chains(batch: str, size: int) -> None:
    for _ in range(size):
        tasks = [plain_noop.s(0), *(plain_noop.s() for _ in range(3)), plain_last.s(batch)]
        chain(*tasks).apply_async()
