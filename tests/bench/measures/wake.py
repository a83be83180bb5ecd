"""Many suspended runs and an event for each: how long until all have gone on."""

from __future__ import annotations

import time
from functools import partial
from uuid import uuid4

from django.db import transaction

from bench import queues
from bench.bench_tasks import plain_last, wait
from bench.contest import Bench, Comparison, Side, alternate
from bench.counters import TIMEOUT, Stalled, counters
from trigger_celery import send_event
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run, Wait

BAR = 0.6
BARRED = "(peer) Absurd"
PLAIN = "as many plain Celery tasks"


def measure(bench: Bench) -> list[Comparison]:
    """Compare seconds from the first event to the last arrival."""
    size = bench.size(200, 20)
    with queues.warm_worker(bench):
        sides: dict[str, Side] = {
            "ours": partial(_wake, size),
            PLAIN: partial(_plain, size),
            **bench.peer_sides("wake", size),
        }
        found = alternate(sides, rounds=bench.rounds)
    ours = found.pop("ours")
    return [
        Comparison(
            name="wake",
            against=name,
            unit="s",
            ours=ours,
            reference=numbers,
            bar=BAR if name == BARRED else None,
        )
        for name, numbers in found.items()
    ]


def _wake(size: int) -> float:
    batch = f"wake-{uuid4().hex}/{size}"
    with transaction.atomic():
        for number in range(size):
            wait.delay(batch, number)
    _until_suspended(size)
    started = time.time()
    for number in range(size):
        send_event("go", {"batch": batch, "number": number})
    return counters().wait(batch) - started


def _until_suspended(size: int) -> None:
    """Wait until all runs wait and none has still to look for earlier events."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        # Earlier batches are through by now: only this one is suspended.
        waiting = Run.objects.filter(task="bench.wait", state=RunState.SUSPENDED).count()
        if waiting == size and not Wait.objects.open().filter(looked=False).exists():
            return
        time.sleep(0.05)
    raise Stalled(f"not all {size} runs were suspended within {TIMEOUT} s")


def _plain(size: int) -> float:
    batch = f"plain-{uuid4().hex}/{size}"
    started = time.time()
    for _ in range(size):
        plain_last.delay(0, batch)
    return counters().wait(batch) - started
