"""Tasks and faults for workers under chaos; workers import it with ``celery -I``.

``TC_FAULT`` names what goes wrong in a process: ``drop``, ``drop-most``, ``drop-first`` or
``repeat`` (nudges), ``count`` (nothing: each nudge is a byte in the file ``nudges``),
``die-at-link``, ``die-at-result`` or ``cut-at-result`` (once, at that point of a run's end), or
``stop waits.resolve after 2``: at the second call of that verb of the store the process waits to
be killed, as long as the barrier ``stop`` is there.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from celery import shared_task, signals
from django.db import connection
from django_celery_results.backends import DatabaseBackend

from testproject.shop.models import Effect
from testproject.shop.tasks import QUICK, effect, first, held, hold, last, plain_link, stored
from trigger_celery import (
    current_run,
    durable_task,
    gather,
    heartbeat,
    sleep,
    step,
    wait_for_event,
)
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.execution import fan_out, segment_end
from trigger_celery.engine.runs import consequences
from trigger_celery.engine.waking import matching
from trigger_celery.errors import StepTimeout
from trigger_celery.ports import Dispatcher
from trigger_celery.vocabulary.records import Nudge

SEED = 20261122


@step
def fenced(name: str) -> int:
    fence = current_run().fence
    effect(f"fenced {fence}")
    hold(f"{name}-{fence}")
    effect(f"passed {fence}")
    return fence


@step(atomic=True)
def fenced_atomic(name: str) -> int:
    fence = current_run().fence
    effect(f"fenced {fence}")
    Effect.objects.create(run=str(current_run().id), step="fenced_atomic", n=fence)
    hold(f"{name}-{fence}")
    effect(f"passed {fence}")
    return fence


@step(atomic=True)
def moved(amount: int) -> int:
    effect("moved")
    Effect.objects.create(run=str(current_run().id), step="moved", n=amount)
    time.sleep(0.05)  # work after the row was written: here a kill or a cut would do harm
    return amount


@step
def die() -> None:
    effect("die")
    os._exit(1)


@durable_task(name="patient-hold", retry=QUICK, heartbeat_timeout=300)
def patient_hold(name: str) -> str:
    """Be held in a step under a lease that does not run out."""
    first(1)
    held(name)
    stored(1)
    return str(last(name))


@durable_task(name="zombie", retry=QUICK)
def zombie(name: str, atomic: bool) -> int:
    """Be held in a step, at a barrier for each fence; return the fence it was recorded under."""
    first(1)
    fence = fenced_atomic(name) if atomic else fenced(name)
    stored(1)
    last(fence)
    return int(fence)


@durable_task(name="poison", retry=QUICK, max_crashes=3)
def poison() -> None:
    """Kill each process that executes it."""
    first(1)
    die()


@durable_task(name="ledger", retry=QUICK)
def ledger(amount: int) -> int:
    """Move an amount by two atomic steps around a short wait."""
    first(1)
    taken = moved(-amount)
    sleep(0.3)
    given = moved(amount)
    return int(last(taken + given))


@durable_task(name="ledger-waiter", retry=QUICK)
def ledger_waiter(key: str, amount: int) -> int:
    """Move an amount once the event ``go`` arrives."""
    taken = moved(-amount)
    event = wait_for_event("go", {"key": key}, timeout=timedelta(minutes=10))
    return int(last(taken + moved(amount) + event.payload["n"]))


@step
def counted(number: int) -> int:
    Effect.objects.create(run=str(current_run().id), step="counted", n=number)
    time.sleep(0.05)  # in which others want the connection that this thread now holds
    return number


@durable_task(name="crowd", retry=QUICK)
def crowd(branches: int) -> int:
    """Count beside each other, in so many threads, and then once more."""
    before = counted(0)
    found = gather(*[partial(counted, number) for number in range(branches)])
    return sum(found) + before


@step
def hoarded(seconds: float) -> int:
    count = Effect.objects.count()
    time.sleep(seconds)
    return count


@durable_task(name="hoarder", retry=QUICK)
def hoarder(seconds: float) -> None:
    """Hold a connection for long in a step, and go on under the same lease."""
    hoarded(seconds)
    last(None)


async def breathe(number: int) -> int:
    heartbeat()
    await asyncio.sleep(0.1)  # in which other loops run
    return number


@durable_task(name="async-crowd", retry=QUICK)
async def async_crowd(number: int) -> int:
    """Await coroutines, steps with the ORM and a wait, some of them beside each other."""
    count: Any = counted  # a step of plain functions is awaited too
    first = await breathe(number)
    counts: Any = await gather(count(1), count(2), breathe(3))
    await sleep(0.2)
    return first + int(sum(counts)) + int(await count(4))


@shared_task(name="plain-count", ignore_result=True)
def plain_count() -> None:
    """Use the ORM and wait, again and again, in a task that is not durable."""
    for number in range(10):
        Effect.objects.create(run="plain", step="plain", n=number)
        time.sleep(0.05)
    effect("plain")


@step(timeout=0.5)
def slow() -> None:
    effect("slow")
    time.sleep(20)
    effect("too late")


@step(timeout=0.5)
def busy() -> None:
    ends_at = time.monotonic() + 1
    while time.monotonic() < ends_at:
        pass


@durable_task(name="too-late", retry=QUICK)
def late(name: str) -> str:
    """Have a step ended by its timeout, and go on."""
    try:
        {"slow": slow, "busy": busy}[name]()
    except StepTimeout:
        return "late"
    return "in time"


@durable_task(name="hearer", retry=QUICK)
def hearer() -> int:
    """Wait for what is said to everybody."""
    return int(last(wait_for_event("everybody", timeout=3600).payload["n"]))


@durable_task(name="brief", ignore_result=True)
def brief(number: int) -> int:
    """Do nothing worth a checkpoint."""
    return number


@durable_task(name="left-alone", ignore_result=True)
def left_alone(key: str) -> None:
    """Wait for what is not said."""
    wait_for_event("never", {"key": key}, timeout=timedelta(hours=1))


class CountingDispatcher:
    """Notes each nudge that is published, in a file beside the effect log."""

    def __init__(self, inner: Dispatcher) -> None:
        self._inner = inner

    @property
    def refusals(self) -> int:
        """How many times in a row it could publish nothing."""
        return self._inner.refusals

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish all."""
        with Path(os.environ["TC_EFFECTS"]).with_name("nudges").open("ab") as file:
            file.write(b"." * len(nudges))
        self._inner.nudge(nudges)

    def route(self, nudge: Nudge) -> str:
        """Return the way of the nudge."""
        return self._inner.route(nudge)

    def backlog(self, nudge: Nudge) -> int | None:
        """Return what waits on it."""
        return self._inner.backlog(nudge)


class LossyDispatcher:
    """Loses nudges; ``keep`` decides which arrive."""

    def __init__(self, inner: Dispatcher, keep: Callable[[], bool]) -> None:
        self._inner = inner
        self._keep = keep

    @property
    def refusals(self) -> int:
        """How many times in a row it could publish nothing."""
        return self._inner.refusals

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish those that are kept."""
        self._inner.nudge([nudge for nudge in nudges if self._keep()])

    def route(self, nudge: Nudge) -> str:
        """Return the way of the nudge."""
        return self._inner.route(nudge)

    def backlog(self, nudge: Nudge) -> int | None:
        """Return what waits on it."""
        return self._inner.backlog(nudge)


class RepeatingDispatcher:
    """Publishes every nudge ten times, in any order."""

    def __init__(self, inner: Dispatcher) -> None:
        self._inner = inner
        self._random = random.Random(SEED)

    @property
    def refusals(self) -> int:
        """How many times in a row it could publish nothing."""
        return self._inner.refusals

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish all, ten times."""
        many = [*nudges] * 10
        self._random.shuffle(many)
        self._inner.nudge(many)

    def route(self, nudge: Nudge) -> str:
        """Return the way of the nudge."""
        return self._inner.route(nudge)

    def backlog(self, nudge: Nudge) -> int | None:
        """Return what waits on it."""
        return self._inner.backlog(nudge)


def faulty(fault: str, inner: Dispatcher) -> Dispatcher:
    """Return a dispatcher with this fault, the same if the fault is none of nudges."""
    if fault == "count":
        return CountingDispatcher(inner)
    if fault == "drop-first":
        return CountingDispatcher(LossyDispatcher(inner, _in_sweep))
    if fault == "drop":
        return LossyDispatcher(inner, _in_sweep)
    if fault == "drop-most":
        chance = random.Random(SEED)
        return LossyDispatcher(inner, lambda: chance.random() < 0.1)
    return RepeatingDispatcher(inner) if fault == "repeat" else inner


def _in_sweep() -> bool:
    return Path(sys.argv[0]).stem in ("sweep_process", "chaos_command")


def _once() -> bool:
    """Whether no process died here before; a file remembers it across processes."""
    try:
        Path(os.environ["TC_EFFECTS"]).with_name("died").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _die_at_link(sender: Any = None, **_: Any) -> None:
    if sender == plain_link.name and _once():
        os.kill(os.getpid(), signal.SIGKILL)


def _at_result(fail: Callable[[], None]) -> None:
    """Fail the first time that the success of a durable run is stored."""
    store: Callable[..., Any] = DatabaseBackend._store_result

    def failing(
        backend: Any, task_id: str, result: Any, status: str, *rest: Any, **named: Any
    ) -> Any:
        durable = getattr(named.get("request"), "task", "") != plain_link.name
        if status == "SUCCESS" and durable and _once():
            fail()
        return store(backend, task_id, result, status, *rest, **named)

    DatabaseBackend._store_result = failing


def _cut() -> None:
    """End this process's own connection to the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def _stop(where: str, when: str, number: int) -> None:
    """Wait to be killed at a call of a verb of the store, in this or a forked process."""
    noun, _, verb = where.partition(".")
    verbs = getattr(installed_engine().store, noun)
    call: Callable[..., Any] = getattr(verbs, verb)
    calls = count(1)

    def wait_to_be_killed() -> None:
        effect("stopped")
        hold("stop")

    def stopping(*args: Any, **named: Any) -> Any:
        mine = next(calls) == number
        if mine and when == "before":
            wait_to_be_killed()
        answer = call(*args, **named)
        if mine and when == "after":
            wait_to_be_killed()
        return answer

    setattr(verbs, verb, stopping)


def _install(fault: str) -> None:
    """Make the faults of this worker."""
    # More batches are more places to die at.
    for module in (matching, consequences, fan_out):
        vars(module)["BATCH"] = 100
    # A run whose worker died before its callbacks were out is published again after this.
    segment_end.PUBLISH_WITHIN = timedelta(seconds=2)
    engine = installed_engine()
    engine.dispatcher = faulty(fault, engine.dispatcher)
    if fault == "die-at-link":
        signals.before_task_publish.connect(_die_at_link, weak=False)
    if fault == "die-at-result":
        _at_result(lambda: os.kill(os.getpid(), signal.SIGKILL))
    if fault == "cut-at-result":
        _at_result(_cut)
    if fault.startswith("stop "):
        where, when, number = fault.split()[1:]
        _stop(where, when, int(number))


if "TC_FAULT" in os.environ:
    _install(os.environ["TC_FAULT"])
