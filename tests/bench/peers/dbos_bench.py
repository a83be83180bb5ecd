"""The workloads on DBOS, with a poll interval of 50 ms (its default is a second)."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any
from uuid import uuid4

from dbos import DBOS, DBOSClient, SetWorkflowID  # type: ignore[import-not-found]

from bench.counters import Stalled, counters
from bench.peers import serving

MODULE = "bench.peers.dbos_bench"
BOUNDED = "bounded"
"""The queue of short runs: so that two processes share them."""
FREE = "free"
"""The queue of waiting runs: each holds a thread."""
AT_ONCE = 20
POLL = 0.05

_replayed: dict[str, float] = {}
_replay_done = threading.Event()


@DBOS.step()  # type: ignore[untyped-decorator]
def noop(value: int) -> int:
    return value + 1


@DBOS.step()  # type: ignore[untyped-decorator]
def arrive(batch: str) -> int:
    return counters().arrive(batch)


@DBOS.step()  # type: ignore[untyped-decorator]
def stamp(batch: str) -> None:
    counters().stamp(batch, time.time())


@DBOS.workflow()  # type: ignore[untyped-decorator]
def steps(count: int) -> int:
    value = 0
    for _ in range(count):
        value = noop(value)
    return value


@DBOS.workflow()  # type: ignore[untyped-decorator]
def steps_twice(count: int, key: str) -> None:
    """Cancel itself after the steps; when it is resumed, tell how long they took again."""
    began = time.perf_counter()
    for value in range(count):
        noop(value)
    if key in _replayed:
        _replayed[key] = time.perf_counter() - began
        _replay_done.set()
        return
    _replayed[key] = 0.0
    DBOS.cancel_workflow(DBOS.workflow_id)
    noop(0)  # raises: the workflow is canceled


@DBOS.workflow()  # type: ignore[untyped-decorator]
def five_steps(batch: str) -> int:
    value = 0
    for _ in range(4):
        value = noop(value)
    number: int = arrive(batch)
    return number


@DBOS.workflow()  # type: ignore[untyped-decorator]
def first_step(batch: str) -> None:
    stamp(batch)


@DBOS.workflow()  # type: ignore[untyped-decorator]
def wait(batch: str, ready: str) -> int:
    counters().arrive(ready)
    DBOS.recv("go", timeout_seconds=60)
    number: int = arrive(batch)
    return number


def launch(executor: str, queues: list[str]) -> None:
    """Start DBOS in this process."""
    config: Any = {
        "name": "bench",
        "system_database_url": os.environ["TC_BENCH_URL"],
        "executor_id": executor,
        "application_version": "1",
        "notification_listener_polling_interval_sec": POLL,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.listen_queues(queues)
    DBOS.launch()
    DBOS.register_queue(BOUNDED, worker_concurrency=AT_ONCE, polling_interval_sec=POLL)
    DBOS.register_queue(FREE, polling_interval_sec=POLL)


class Measures:
    """The five measures, each in the unit of ours."""

    def __init__(self) -> None:
        launch("client", [])
        self.client = DBOSClient(system_database_url=os.environ["TC_BENCH_URL"])

    def step(self, size: int) -> float:
        """Milliseconds a step, in this process."""
        began = time.perf_counter()
        steps(size)
        return (time.perf_counter() - began) / size * 1_000

    def replay(self, size: int) -> float:
        """Milliseconds of the steps of a run that is resumed; finding it is not counted."""
        key = uuid4().hex
        _replay_done.clear()
        try:
            with SetWorkflowID(key):
                steps_twice(size, key)
        except Exception as error:  # that it was canceled, as it asked for
            if key not in _replayed:
                raise error
        DBOS.resume_workflow(key)
        if not _replay_done.wait(60):
            raise Stalled("the workflow was not resumed within 60 s")
        return _replayed[key] * 1_000

    def runs(self, size: int) -> float:
        """Runs a second with two processes."""

        def fill(batch: str) -> None:
            for _ in range(size):
                self._enqueue(BOUNDED, "five_steps", batch)

        return serving.drain(MODULE, size, fill)

    def latency(self, samples: int) -> float:
        """Median of milliseconds to the first step."""
        return serving.first_steps(
            MODULE, samples, lambda batch: self._enqueue(BOUNDED, "first_step", batch)
        )

    def wake(self, size: int) -> float:
        """Seconds from the first message to the last arrival."""
        batch, ready = f"peer-{uuid4().hex}/{size}", f"ready-{uuid4().hex}/{size}"
        ids = [self._enqueue(FREE, "wait", batch, ready) for _ in range(size)]
        with serving.workers(MODULE):
            counters().wait(ready)
            time.sleep(1)  # the last ones are still on their way into recv()
            began = time.time()
            for each in ids:
                self.client.send(each, "go", topic="go")
            return counters().wait(batch) - began

    def _enqueue(self, queue: str, workflow: str, *args: object) -> str:
        workflow_id = uuid4().hex
        options: Any = {
            "queue_name": queue,
            "workflow_name": workflow,
            "workflow_id": workflow_id,
            "app_version": "1",
        }
        self.client.enqueue(options, *args)
        return workflow_id


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serving.end_on_signal()
        launch(f"worker-{sys.argv[2]}", [BOUNDED, FREE])
        threading.Event().wait()
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
