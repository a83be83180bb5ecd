"""What is measured: durable tasks, and plain Celery tasks that do the same and keep nothing.

Both tell Redis the same things in the same way, from inside the last step or task.
"""

from __future__ import annotations

import time

from celery import shared_task

from bench.counters import counters
from trigger_celery import Queue, durable_task, step, wait_for_event

DURABLE_QUEUE = "durable"
PLAIN_QUEUE = "plain"
UNREAD_QUEUE = "unread"

limited_queue = Queue("bench-limited", concurrency_limit=10)
unlimited_queue = Queue("bench-unlimited")


@step
def noop(value: int) -> int:
    return value + 1


@step
def arrive(batch: str) -> int:
    return counters().arrive(batch)


@step
def stamp(batch: str) -> None:
    counters().stamp(batch, time.time())


@durable_task(name="bench.steps", queue=DURABLE_QUEUE)
def steps(count: int) -> int:
    value = 0
    for _ in range(count):
        value = noop(value)
    return value


@durable_task(name="bench.steps-and-wait", queue=DURABLE_QUEUE)
def steps_and_wait(count: int, key: str) -> int:
    value = 0
    for _ in range(count):
        value = noop(value)
    wait_for_event("go", {"key": key})
    return value


@durable_task(name="bench.five-steps", queue=DURABLE_QUEUE)
def five_steps(batch: str) -> int:
    value = 0
    for _ in range(4):
        value = noop(value)
    return arrive(batch)


@durable_task(name="bench.two-steps", queue=DURABLE_QUEUE)
def two_steps(batch: str) -> int:
    noop(0)
    return arrive(batch)


@durable_task(name="bench.first-step", queue=DURABLE_QUEUE)
def first_step(batch: str) -> None:
    stamp(batch)


@durable_task(name="bench.wait", queue=DURABLE_QUEUE)
def wait(batch: str, number: int) -> int:
    wait_for_event("go", {"batch": batch, "number": number})
    return arrive(batch)


@durable_task(name="bench.child", queue=DURABLE_QUEUE)
def child(batch: str) -> int:
    return counters().arrive(batch)


@durable_task(name="bench.fan-out", queue=DURABLE_QUEUE)
def fan_out(batch: str, size: int) -> None:
    children = f"{batch.split('/')[0]}-children"
    child.batch_trigger_and_wait([(children,)] * size)
    stamp(batch)


@durable_task(name="bench.unread", queue=UNREAD_QUEUE)
def unread(number: int) -> None:
    """Do nothing; no worker listens to its queue."""


@shared_task(name="bench.plain-noop", queue=PLAIN_QUEUE)
def plain_noop(value: int) -> int:
    return value + 1


@shared_task(name="bench.plain-last", queue=PLAIN_QUEUE)
def plain_last(value: int, batch: str) -> int:
    return counters().arrive(batch)


@shared_task(name="bench.plain-gate", queue=PLAIN_QUEUE)
def plain_gate(gate: str) -> None:
    counters().stamp(f"{gate}-reached", time.time())
    counters().wait(gate)


@shared_task(name="bench.plain-stamp", queue=PLAIN_QUEUE)
def plain_stamp(batch: str) -> None:
    counters().stamp(batch, time.time())
