"""Many runs at once: started as a batch, and as the children of one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from celery import group
from django.db import transaction

from bench import queues
from bench.bench_tasks import child, fan_out, plain_last, unread
from bench.contest import Bench, Comparison, alternate
from bench.counters import counters
from trigger_celery_django.models import Run

ONE_BY_ONE = "as many single trigger()s"
GROUP = "Celery group of as many plain tasks"


def measure(bench: Bench) -> list[Comparison]:
    """Compare runs a second; these are reported and have no bar."""
    size = bench.size(1_000, 20)
    with queues.warm_worker(bench):
        fanned = alternate(
            {
                "ours": partial(_drain, size, _children),
                ONE_BY_ONE: partial(_drain, size, _triggers),
                GROUP: partial(_drain, size, _group),
            },
            rounds=bench.rounds,
        )
    batched = alternate(
        {
            "ours": partial(_create, size, _batch),
            ONE_BY_ONE: partial(_create, size, _singles),
            f"{ONE_BY_ONE} in one transaction": partial(_create, size, _singles_in_one),
        },
        rounds=bench.rounds,
    )
    return [*_comparisons("fan-out", fanned), *_comparisons("batch", batched)]


def _comparisons(name: str, found: dict[str, tuple[float, ...]]) -> list[Comparison]:
    return [
        Comparison(
            name=name,
            against=against,
            unit="runs/s",
            higher=True,
            ours=found["ours"],
            reference=numbers,
        )
        for against, numbers in found.items()
        if against != "ours"
    ]


def _drain(size: int, start: Callable[[str, int], None]) -> float:
    """Return runs a second, from the start of the first to the end of all."""
    batch = f"many-{uuid4().hex}/{size}"
    began = time.time()
    start(batch, size)
    return size / (counters().wait(batch) - began)


def _children(batch: str, size: int) -> None:
    # The stamp is the parent's, which has all results then.
    fan_out.delay(batch, size)


def _triggers(batch: str, size: int) -> None:
    with transaction.atomic():
        for _ in range(size):
            child.trigger(batch)


def _group(batch: str, size: int) -> None:
    group(plain_last.s(0, batch) for _ in range(size)).apply_async()


def _create(size: int, start: Callable[[int], object]) -> float:
    """Return runs that were created and nudged a second, and delete them before any worker."""
    began = time.perf_counter()
    start(size)
    seconds = time.perf_counter() - began
    created, _ = Run.objects.filter(task="bench.unread").delete()
    if created < size:
        raise AssertionError(f"{created} of {size} runs were created")
    return size / seconds


def _batch(size: int) -> None:
    unread.batch_trigger([(number,) for number in range(size)])


def _singles(size: int) -> None:
    for number in range(size):
        unread.trigger(number)


def _singles_in_one(size: int) -> None:
    with transaction.atomic():
        _singles(size)
