"""The workloads on Absurd, with a poll interval of 20 ms (its default is 250)."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
from absurd_sdk import Absurd  # type: ignore[import-not-found]
from absurdctl import BUNDLED_SCHEMA_SQL  # type: ignore[import-not-found]

from bench.counters import counters
from bench.peers import serving

MODULE = "bench.peers.absurd_bench"
QUEUE = "bench"
POLL = 0.02

Params = dict[str, Any]


def steps(params: Params, context: Any) -> int:
    value = 0
    for _ in range(params["count"]):
        value = context.step("noop", partial(_noop, value))
    return value


def steps_and_wait(params: Params, context: Any) -> int:
    value = steps(params, context)
    context.await_event(params["key"])
    return value


def five_steps(params: Params, context: Any) -> int:
    steps({"count": 4}, context)
    number: int = context.step("arrive", partial(counters().arrive, params["batch"]))
    return number


def first_step(params: Params, context: Any) -> None:
    context.step("stamp", lambda: counters().stamp(params["batch"], time.time()))


def wait(params: Params, context: Any) -> int:
    context.await_event(params["key"])
    number: int = context.step("arrive", partial(counters().arrive, params["batch"]))
    return number


def _noop(value: int) -> int:
    return value + 1


def connect() -> Any:
    """Return a client that knows all tasks."""
    client = Absurd(os.environ["TC_BENCH_URL"], queue_name=QUEUE)
    for task in (steps, steps_and_wait, five_steps, first_step, wait):
        client.register_task(task.__name__)(task)
    return client


class Measures:
    """The five measures, each in the unit of ours."""

    def __init__(self) -> None:
        with psycopg.connect(os.environ["TC_BENCH_URL"], autocommit=True) as connection:
            connection.execute(BUNDLED_SCHEMA_SQL)
        self.client = connect()
        self.client.create_queue(QUEUE)

    def step(self, size: int) -> float:
        """Milliseconds a step, in this process."""
        self.client.spawn("steps", {"count": size})
        return self._batch() / size * 1_000

    def replay(self, size: int) -> float:
        """Milliseconds from the claim of the woken run to its end."""
        key = uuid4().hex
        self.client.spawn("steps_and_wait", {"count": size, "key": key})
        self._batch()
        self.client.emit_event(key, {})
        return self._batch() * 1_000

    def runs(self, size: int) -> float:
        """Runs a second with two processes."""

        def fill(batch: str) -> None:
            for _ in range(size):
                self.client.spawn("five_steps", {"batch": batch})

        return serving.drain(MODULE, size, fill)

    def latency(self, samples: int) -> float:
        """Median of milliseconds to the first step."""
        return serving.first_steps(
            MODULE, samples, lambda batch: self.client.spawn("first_step", {"batch": batch})
        )

    def wake(self, size: int) -> float:
        """Seconds from the first event to the last arrival."""
        batch = f"peer-{uuid4().hex}/{size}"
        for number in range(size):
            self.client.spawn("wait", {"batch": batch, "key": f"{batch}-{number}"})
        with serving.workers(MODULE):
            serving.until(lambda: self._sleeping() == size, f"{size} tasks did not sleep")
            began = time.time()
            for number in range(size):
                self.client.emit_event(f"{batch}-{number}", {})
            return counters().wait(batch) - began

    def _batch(self) -> float:
        began = time.perf_counter()
        self.client.work_batch(batch_size=1)
        return time.perf_counter() - began

    def _sleeping(self) -> int:
        with psycopg.connect(os.environ["TC_BENCH_URL"]) as connection:
            found = connection.execute(
                "SELECT count(*) FROM absurd.r_bench WHERE state = 'sleeping'"
            ).fetchone()
        return int(found[0]) if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serving.end_on_signal()
        connect().start_worker(poll_interval=POLL)
    else:
        measures = Measures()
        serving.serve(
            {
                "step": measures.step,
                "runs": measures.runs,
                "latency": measures.latency,
                "replay": measures.replay,
                "wake": measures.wake,
            }
        )
