"""Durable tasks that tests run in real workers; their effects go to a file outside the database."""

from __future__ import annotations

import asyncio
import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from celery import shared_task

from testproject.shop.models import Effect
from trigger_celery import (
    CurrentRun,
    RetryPolicy,
    RunResult,
    current_run,
    durable_task,
    gather,
    sleep,
    step,
    wait_any,
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
    """Stay with a lost worker unless the supervisor recovers the run."""
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


def on_success(run: CurrentRun, output: object) -> None:
    log_hook(run, f"success {output}")


async def on_cancel(run: CurrentRun, reason: str) -> None:
    log_hook(run, f"cancel {reason}")


def on_complete(run: CurrentRun, result: RunResult) -> None:
    log_hook(run, f"complete {result.state}")


def log_hook(run: CurrentRun, what: str) -> None:
    """Append to the effect log what a hook was called with: it is outside of its run."""
    with open(os.environ["TC_EFFECTS"], "a", encoding="utf-8") as log:
        log.write(f"{run.id} {what} {os.getpid()}\n")


@durable_task(
    name="hooked",
    ignore_result=True,
    on_success=on_success,
    on_cancel=on_cancel,
    on_complete=on_complete,
)
def hooked(key: str) -> Any:
    return wait_for_event("go", {"key": key}, timeout=60).payload["n"]


async def fetch(n: int) -> int:
    effect("fetch")
    return n


@durable_task(name="async-waiter", retry=QUICK)
async def async_waiter(key: str) -> Any:
    number = await fetch(1)
    event = await wait_for_event("go", {"key": key}, timeout=60)
    return number + event.payload["n"]


@step
async def first_async() -> None:
    effect("first")


@step
async def last_async(value: str) -> str:
    effect("last")
    return value


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


@shared_task(name="plain-half-second")
def plain_half_second() -> None:
    time.sleep(0.5)


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
    """Plain: a link, or a chord's or chain's end, with a tag of its own in the effect log."""
    note(tag, str(value).replace(" ", ""))
    return value


@shared_task(name="tagged-error")
def tagged_error(*args: Any, tag: str) -> None:
    """Plain: an errback with a tag of its own in the effect log."""
    note(tag, "errback")


@shared_task(name="tagged-sum")
def tagged_sum(values: list[int], tag: str) -> int:
    """Plain: a chord's body with a tag of its own in the effect log."""
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


@durable_task(name="soft-limited", retry=QUICK, soft_time_limit=1, checkpoint="explicit")
async def soft_limited() -> str:
    """Be interrupted by Celery's soft limit in the first attempt, between two steps."""
    await first_async()
    try:
        if current_run().attempt == 1:
            await asyncio.sleep(60)
    finally:
        effect(f"left-{current_run().attempt}")
    return await last_async("survived")


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


@durable_task(name="squared", retry=RetryPolicy(max_attempts=1))
def squared(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    effect("squared")
    return value * value


@durable_task(name="squares")
async def squares(values: list[int]) -> Any:
    return await squared.batch_trigger_and_wait([(value,) for value in values])


@durable_task(name="patient-child", ignore_result=True)
def patient_child(number: int) -> int:
    wait_for_event("patient-child", filter={"number": number})
    return number


@durable_task(name="patient-parent")
def patient_parent(numbers: list[int]) -> Any:
    return patient_child.batch_trigger_and_wait([(number,) for number in numbers])


@durable_task(name="beside", retry=QUICK)
def beside(key: str) -> Any:
    """Do three things at once, one of which waits; then take what is first of two."""
    results = gather(
        lambda: held(key),
        lambda: stored(7),
        lambda: wait_for_event("go", {"key": key}).payload["n"],
    )
    winner, _ = wait_any(lambda: wait_for_event("never"), lambda: sleep(0.1))
    return last([*results, winner])


@step(timeout=0.3, retry=RetryPolicy(max_attempts=2, min_delay=0, jitter=False))
def endless_at_first() -> str:
    effect("tried")
    while not _tried_before():
        pass
    return "in time"


def _tried_before() -> bool:
    log = Path(os.environ["TC_EFFECTS"]).read_text(encoding="utf-8")
    return log.count(f"{current_run().id} tried ") > 1


@durable_task(name="timed", retry=RetryPolicy(max_attempts=1))
def timed() -> str:
    """Have a step ended by its timeout, and tried again."""
    return endless_at_first()
