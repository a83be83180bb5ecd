"""A worker that is warm, and how its processes are held back while a queue is filled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from bench import environment
from bench.bench_tasks import first_step, plain_gate, plain_stamp
from bench.contest import Bench
from bench.counters import counters

WARM = 10


@contextmanager
def warm_worker(bench: Bench) -> Iterator[None]:
    """Run a worker whose processes have each done both kinds of work already."""
    with environment.worker(bench.log):
        for task in (first_step, plain_stamp):
            for number in range(WARM):
                task.delay(f"warm-{task.name}-{number}")
        for task in (first_step, plain_stamp):
            for number in range(WARM):
                counters().wait(f"warm-{task.name}-{number}")
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Keep every process of the worker busy during the block, and free them all at its end.

    The worker goes on to listen to its queues: one that takes up a queue again looks at it
    up to a second later, which would be measured as if it were work.
    """
    gate = f"gate-{uuid4().hex}"
    for _ in range(environment.PROCESSES):
        plain_gate.delay(gate)
    for _ in range(environment.PROCESSES):
        counters().wait(f"{gate}-reached")
    yield
    for _ in range(environment.PROCESSES):
        counters().stamp(gate, 0)
