"""Holds a worker's queue back while it is filled, then lets it go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench import environment
from bench.bench_app import app
from bench.bench_tasks import first_step, plain_stamp
from bench.contest import Bench
from bench.counters import counters

ANSWER = 30
WARM = 10


class NoAnswer(Exception):
    """The worker did not answer; its log says why."""


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


def pause(queue: str) -> None:
    """Let the worker take nothing more from this queue."""
    _tell("cancel_consumer", queue=queue)


def resume(queue: str) -> None:
    """Let the worker take what was queued meanwhile."""
    _tell("add_consumer", queue=queue)


def _tell(command: str, **arguments: str) -> None:
    answers = app.control.broadcast(
        command,
        arguments=arguments,
        destination=[environment.NODE],
        reply=True,
        timeout=ANSWER,
        limit=1,
    )
    if not answers:
        raise NoAnswer(f"the worker did not answer {command} within {ANSWER} s")
