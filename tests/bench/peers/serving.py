"""A peer's end of the pipe: answers requests, and runs worker processes while it measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from uuid import uuid4

from bench.counters import TIMEOUT, Stalled, counters

GRACE = 10
SETTLE = 0.02
"""Seconds after a sample of latency: the end of a run must not disturb the next one."""

Measure = Callable[[int], float]


def serve(measures: Mapping[str, Measure]) -> None:
    """Answer each line ``{"measure": ..., "size": ...}`` with a value or an error."""
    end_on_signal()
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not get there
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, object] = {"value": measures[request["measure"]](request["size"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def end_on_signal() -> None:
    """Leave through the open ``with`` blocks when asked to end."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


@contextmanager
def workers(module: str, *, processes: int = 2) -> Iterator[None]:
    """Run ``python -m module worker NUMBER`` so many times; end them by pid."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(processes):
            command = (sys.executable, "-m", module, "worker", str(number))
            started.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=os.environ
                )
            )
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def drain(module: str, size: int, fill: Callable[[str], None]) -> float:
    """Return runs a second from a tenth to the end of a queue that is filled before.

    The first tenth is left out because it holds the start of the worker processes. These
    workers carry one run to its end before the next, so what is left is no flattery.
    """
    first = size // 10
    batch = f"peer-{uuid4().hex}/{first}/{size}"
    fill(batch)
    with workers(module):
        began = counters().wait(batch)
        return (size - first) / (counters().wait(batch) - began)


def first_steps(module: str, samples: int, send: Callable[[str], object]) -> float:
    """Return the median of milliseconds from a trigger to the first step's time stamp."""
    with workers(module):
        _one(send)  # the workers are up once it is through
        return median(_one(send) for _ in range(samples)) * 1_000


def _one(send: Callable[[str], object]) -> float:
    batch = f"peer-{uuid4().hex}"
    sent = time.time()
    send(batch)
    seconds = counters().wait(batch) - sent
    time.sleep(SETTLE)
    return seconds


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for a state. Raises ``Stalled``."""
    deadline = time.monotonic() + TIMEOUT
    while not done():
        if time.monotonic() > deadline:
            raise Stalled(f"{what} within {TIMEOUT} s")
        time.sleep(0.05)
