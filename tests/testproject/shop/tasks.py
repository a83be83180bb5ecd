"""Durable tasks that tests run in real workers; their effects go to a file outside the database."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
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

leaked: ContextVar[str] = ContextVar("leaked", default="")


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


@durable_task(name="with-long-lease", retry=QUICK)
def with_long_lease(name: str) -> str:
    """Stay with a lost worker unless somebody tells that it is lost."""
    first(1)
    held(name)
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


def note(tag: str, what: str) -> None:
    """Append one line to the effect log under a tag: for tasks that are not runs."""
    with open(os.environ["TC_EFFECTS"], "a", encoding="utf-8") as log:
        log.write(f"{tag} {what} {os.getpid()}\n")


@shared_task(name="tagged")
def tagged(value: Any, tag: str) -> Any:
    """Plain: a link, or a chord's or chain's end, that can be told from others."""
    note(tag, str(value).replace(" ", ""))
    return value


@shared_task(name="tagged-error")
def tagged_error(*args: Any, tag: str) -> None:
    """Plain: an errback that can be told from others."""
    note(tag, "errback")


@shared_task(name="tagged-sum")
def tagged_sum(values: list[int], tag: str) -> int:
    """Plain: a chord's body that can be told from others."""
    note(tag, f"sum{sum(values)}")
    return sum(values)


@shared_task(name="plain-trigger")
def plain_trigger(value: int) -> str:
    """Plain: starts a run from a worker."""
    return str(linear.delay(value).id)


@durable_task(name="nap", retry=QUICK)
def nap(value: int, seconds: float = 0.05) -> int:
    """Suspend once, and go on with the value."""
    first(value)
    sleep(seconds)
    last(value)
    return value + 1


@durable_task(name="total", retry=QUICK)
def total(values: list[int]) -> int:
    """Durable: a chord's body that suspends."""
    number = int(last(sum(values)))
    sleep(0.05)
    return number


@durable_task(name="parent", retry=QUICK)
def parent(value: int) -> str:
    """Start another run from the body, around a suspension."""
    child = linear.delay(value)
    sleep(0.05)
    last(str(child.id))
    return str(child.id)


@durable_task(name="flaky", bind=True, max_retries=3, default_retry_delay=1)
def flaky(self: Any, times: int) -> list[int]:
    """Ask for a retry with Celery's own words until it was tried often enough."""
    first(1)
    effect(f"attempt-{current_run().attempt}")
    if current_run().attempt <= times:
        raise self.retry(countdown=0.1)
    return [current_run().attempt, self.request.retries]


@durable_task(name="bound-async", bind=True, retry=QUICK)
async def bound_async(self: Any, value: int) -> list[Any]:
    """Show what a bound body sees of its request after a suspension."""
    number = await fetch(value)
    await sleep(0.05)
    return [number, str(self.request.id) == str(current_run().id)]


@durable_task(name="stores", retry=QUICK)
def stores(n: int) -> int:
    """Write to the database in an atomic step, around a suspension."""
    value = stored(n)
    sleep(0.05)
    return int(last(value))


@durable_task(name="quiet", retry=QUICK, ignore_result=True)
def quiet(value: int) -> int:
    """Keep no result."""
    return int(last(value))


@durable_task(name="tracked", retry=QUICK, track_started=True)
def tracked(name: str) -> str:
    """Show STARTED while it works."""
    held(name)
    return name


@durable_task(name="patient-retry", retry=RetryPolicy(max_attempts=2, min_delay=30, jitter=False))
def patient_retry() -> None:
    """Fail, and wait long for the next attempt."""
    effect("tried")
    raise ValueError("not yet")


@durable_task(name="limited", retry=QUICK, time_limit=1, max_crashes=2)
def limited(name: str) -> str:
    """Be killed by Celery's hard limit once."""
    effect("tried")
    if current_run().crashes == 0:
        hold(name)
    return "survived"


@durable_task(name="leaky", retry=QUICK)
def leaky(value: int) -> list[str]:
    """Tell what a run sees of those before it in the same worker."""
    seen = leaked.get()
    leaked.set(f"run-{value}")
    return [seen, str(current_run().id)]


@shared_task(name="outside")
def outside() -> bool:
    """Plain: whether a run's context is left behind in the worker."""
    return _in_run()


@durable_task(name="routed", bind=True, retry=QUICK)
def routed(self: Any) -> str:
    """Note through which queue each segment came."""
    effect(f"via-{self.request.delivery_info['routing_key'].rpartition('.')[2]}")
    sleep(0.05)
    return str(last("routed"))
