"""Durable tasks that tests run in real workers; their effects go to a file outside the database."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from testproject.shop.models import Effect
from trigger_celery import (
    RetryPolicy,
    current_run,
    durable_task,
    sleep,
    step,
    wait_for_event,
)

QUICK = RetryPolicy(max_attempts=3, min_delay=0.1, max_delay=1, jitter=False)


def effect(name: str) -> None:
    """Append one line to the effect log: what happened is counted there, not in the database."""
    run = current_run().id if _in_run() else "-"
    line = f"{run} {name} {os.getpid()}\n"
    with open(os.environ["TC_EFFECTS"], "a", encoding="utf-8") as log:
        log.write(line)


def _in_run() -> bool:
    try:
        current_run()
    except ValueError:
        return False
    return True


def hold(name: str) -> None:
    """Wait while a file of this name lies beside the effect log: a test removes it."""
    barrier = Path(os.environ["TC_EFFECTS"]).with_name(f"hold-{name}")
    while barrier.exists():
        time.sleep(0.02)


@step
def first(value: int) -> int:
    effect("first")
    return value + 1


@step
def held(name: str) -> str:
    effect(f"held-{name}")
    hold(name)
    return name


@step(atomic=True)
def stored(n: int) -> int:
    effect("stored")
    Effect.objects.create(run=str(current_run().id), step="stored", n=n)
    return n


@step
def last(value: Any) -> Any:
    effect("last")
    return value


@durable_task(name="linear", retry=QUICK)
def linear(value: int) -> int:
    return int(last(first(value)))


@durable_task(name="with-hold", retry=QUICK, heartbeat_timeout=2)
def with_hold(name: str) -> str:
    first(1)
    held(name)
    stored(1)
    return str(last(name))


@durable_task(name="sleeper", retry=QUICK)
def sleeper(seconds: float) -> str:
    first(1)
    sleep(seconds)
    return str(last("slept"))


@durable_task(name="waiter", retry=QUICK)
def waiter(key: str) -> Any:
    first(1)
    event = wait_for_event("go", {"key": key}, timeout=60)
    return last(event.payload["n"])


async def fetch(n: int) -> int:
    effect("fetch")
    return n


@durable_task(name="async-waiter", retry=QUICK)
async def async_waiter(key: str) -> Any:
    number = await fetch(1)
    event = await wait_for_event("go", {"key": key}, timeout=60)
    return number + event.payload["n"]


@durable_task(name="failing", retry=RetryPolicy(max_attempts=1))
def failing() -> None:
    first(1)
    raise ValueError("it failed")


@shared_task(name="plain-link")
def plain_link(*args: Any) -> None:
    effect(f"link {args[0] if args else ''}".strip())


@shared_task(name="plain-errback")
def plain_errback(*args: Any) -> None:
    effect("errback")


@shared_task(name="plain-sum")
def plain_sum(values: list[int]) -> int:
    effect(f"sum {sum(values)}")
    return sum(values)


@shared_task(name="plain-add")
def plain_add(a: int, b: int) -> int:
    return a + b
