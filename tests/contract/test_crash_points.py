"""Wherever a worker dies or an answer is lost, a run ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from threading import Thread
from typing import Any

import pytest

from support.crash_points import World
from support.databases import alias_of
from support.passing_time import advance as pass_time
from trigger_celery import RetryPolicy, sleep, step, wait_for_event
from trigger_celery.records import Run, StepKind
from trigger_celery.states import TRANSITIONS, RunState, WaitState
from trigger_celery.testing import Fault, MemoryStore
from trigger_celery_django.store import DjangoStore

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


FLOWS: dict[str, tuple[Callable[[str], Any], str]] = {
    "linear": (linear, ""),
    "slow retry": (slow_retry, ""),
    "fast retry": (fast_retry, ""),
    "sleep": (nap, ""),
    "event": (approval, "approved"),
    "timeout": (silence, ""),
    "atomic": (atomic, ""),
}


@dataclass(frozen=True)
class Place:
    """A store and how its time passes."""

    store: MemoryStore | DjangoStore

    def world(self, flow: str, plan: dict[int, Any] | None = None) -> World:
        body, event = FLOWS[flow]
        if isinstance(self.store, MemoryStore):
            advance: Callable[[timedelta], object] = self.store.clock.advance
        else:
            advance = partial(pass_time, self.store.alias)
        Stage.world = World(self.store, advance, body, plan or {}, event)
        return Stage.world


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        return Place(MemoryStore())
    request.getfixturevalue("transactional_db")
    return Place(DjangoStore(alias_of("sqlite")))


pytestmark = pytest.mark.django_db(transaction=True, databases=[alias_of("sqlite")])


def record(world: World) -> dict[str, object]:
    """Return what the run recorded, without ids and times.

    Backoffs are left out: a worker that dies before it notes a failure makes none.
    """
    found = world.inner.checkpoints.load(world.run_id, run_attempt=1).recorded
    return {
        key: (item.kind, item.value, item.wait, item.event is not None)
        for key, item in found.items()
        if item.kind is not StepKind.RETRY
    }


def check_laws(world: World, run: Run, golden: World) -> None:
    """Check what holds whatever happened."""
    assert golden.run is not None
    assert (run.state, run.output) == (RunState.COMPLETED, golden.run.output)
    assert (run.attempt, run.error) == (1, None)
    assert run.crashes <= world.crashes < run.max_crashes
    assert record(world) == record(golden)
    assert all(item[2] is not WaitState.WAITING for item in record(world).values())
    assert world.publications >= 1
    history = world.inner.runs.history(run.id)
    for before, after in pairwise(history):
        assert before.fence <= after.fence
        assert before.state is after.state or after.state in TRANSITIONS[before.state]
        if (before.verb, after.verb) == ("suspend", "wake") and not world.event:
            assert after.at - before.at > NAP - timedelta(seconds=1)
    assert [entry.verb for entry in history].count("complete") == 1


def check_final(world: World) -> None:
    """Check that late nudges and sweeps change nothing."""
    before = world.inner.runs.history(world.run_id)
    effects, told = world.effects.copy(), record(world)
    world.boot("late")
    world.work(world.run_id)
    world.wait_a_while()
    assert len(world.inner.runs.history(world.run_id)) == len(before)
    assert (world.effects, record(world)) == (effects, told)
    assert not world.inbox.nudges


def check_effects(world: World, golden: World, allowed: int) -> None:
    """Check that at most ``allowed`` bodies ran once more than without a fault."""
    extra = world.effects - golden.effects
    assert not golden.effects - world.effects
    assert extra.total() <= allowed, extra
    assert "b" not in extra or world.body is not atomic


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("flow", FLOWS)
def test_a_run_survives_a_fault_at_every_call_of_the_store(
    place: Place, flow: str, fault: Fault
) -> None:
    golden = place.world(flow)
    golden.finish()
    for number, verb in golden.store.calls:
        world = place.world(flow, {number: fault})
        run = world.finish()
        assert world.store.calls[: number + 1] == golden.store.calls[: number + 1]
        check_laws(world, run, golden)
        again = fault is Fault.BEFORE and verb == "checkpoints.record"
        check_effects(world, golden, 1 if again else 0)
        check_final(world)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_run_survives_crashes_at_two_calls_of_the_store(flow: str) -> None:
    place = Place(MemoryStore())
    golden = place.world(flow)
    golden.finish()
    for first, _ in golden.store.calls:
        for later in range(1, 5):
            world = place.world(flow, {first: Fault.BEFORE, first + later: Fault.AFTER})
            check_laws(world, world.finish(), golden)
            check_effects(world, golden, 2)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_worker_that_was_thought_dead_writes_nothing_when_it_comes_back(flow: str) -> None:
    place = Place(MemoryStore())
    golden = place.world(flow)
    golden.finish()
    for number, _ in golden.store.calls:
        world = place.world(flow, {number: take_over})
        run = world.finish()
        check_laws(world, run, golden)
        check_effects(world, golden, 1)
        check_final(world)


def take_over() -> None:
    """Let another worker recover the run and carry it to its end, in a thread of its own."""
    world = Stage.world
    rival = World(world.inner, world.advance, world.body, {}, world.event, world.effects)
    rival.run_id, rival.event_id = world.run_id, world.event_id
    rival.boot("rival")

    def run() -> None:
        world.inner.runs.recover(world.run_id, world.worker)
        rival.finish()

    thread = Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()
    world.publications += rival.publications
    world.crashes += 1
