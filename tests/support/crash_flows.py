"""The flows whose every crash point is tried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from support.crash_points import World
from trigger_celery import RetryPolicy, gather, sleep, step, wait_any, wait_for_event

NAP = timedelta(seconds=30)
SLOW = RetryPolicy(max_attempts=3, min_delay=30, max_delay=30, jitter=False)
FAST = RetryPolicy(max_attempts=3, min_delay=0, jitter=False)


class Stage:
    """The world that the steps below act in."""

    world: World


@step
def act(name: str) -> str:
    Stage.world.effects[name] += 1
    return f"did {name}"


def flaky(name: str) -> str:
    Stage.world.effects[name] += 1
    if Stage.world.effects[name] == 1:
        raise ConnectionError("the first time it fails")
    return f"did {name}"


@step
def fail(name: str) -> None:
    Stage.world.effects[name] += 1
    raise ConnectionError(name)


slow_flaky = step(retry=SLOW)(flaky)
fast_flaky = step(retry=FAST)(flaky)


@step(atomic=True)
def write(name: str) -> str:
    world = Stage.world
    # Stands for a row of the same database: it counts if the transaction commits.
    world.store.on_commit(lambda: world.effects.update([name]))
    return f"wrote {name}"


def linear(run: str) -> list[str]:
    return [act("a"), act("b"), act("c")]


def slow_retry(run: str) -> list[str]:
    return [act("a"), slow_flaky("b"), act("c")]


def fast_retry(run: str) -> list[str]:
    return [act("a"), fast_flaky("b"), act("c")]


def nap(run: str) -> list[str]:
    before = act("a")
    sleep(NAP)
    return [before, act("b")]


def approval(run: str) -> list[Any]:
    before = act("a")
    event = wait_for_event("approved", filter={"run": run})
    return [before, event.payload["run"] == run, act("b")]


def silence(run: str) -> list[Any]:
    before = act("a")
    event = wait_for_event("approved", filter={"run": run}, timeout=NAP, default=None)
    return [before, event, act("b")]


def atomic(run: str) -> list[str]:
    return [act("a"), write("b"), act("c")]


def beside(run: str) -> list[Any]:
    # One thread at a time: then the calls of the store have an order.
    before = gather(lambda: act("a"), _after_a_nap, lambda: act("c"), max_parallel=1)
    return [before, act("d")]


def _after_a_nap() -> str:
    sleep(NAP)
    return act("b")


def caught(run: str) -> list[str]:
    before = act("a")
    try:
        fail("b")
    except ConnectionError as error:
        after = act(f"c after {error}")
        sleep(NAP)
        return [before, after, act("d")]
    return [before, "nothing failed"]


def caught_beside(run: str) -> list[str]:
    try:
        gather(lambda: act("a"), lambda: fail("b"), _after_a_nap, max_parallel=1)
    except ConnectionError as error:
        return [act(f"c after {error}"), act("d")]
    return ["nothing failed"]


def race(run: str) -> list[Any]:
    before = act("a")
    index, mine = wait_any(
        lambda: sleep(NAP * 1000),
        lambda: wait_for_event("approved", filter={"run": run}).payload["run"] == run,
        max_parallel=1,
    )
    return [before, index, mine, act("b")]


FLOWS: dict[str, tuple[Callable[[str], Any], str]] = {
    "linear": (linear, ""),
    "slow retry": (slow_retry, ""),
    "fast retry": (fast_retry, ""),
    "sleep": (nap, ""),
    "event": (approval, "approved"),
    "timeout": (silence, ""),
    "atomic": (atomic, ""),
    "gather": (beside, ""),
    "race": (race, "approved"),
    "caught": (caught, ""),
    "caught beside": (caught_beside, ""),
}
