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

from support.crash_flows import FLOWS, NAP, Stage, atomic
from support.crash_points import World
from support.databases import alias_of
from trigger_celery.testing import Fault, MemoryStore
from trigger_celery.testing.contract.runs import everything
from trigger_celery.testing.contract.tools import asked
from trigger_celery.vocabulary.records import Run, StepKind
from trigger_celery.vocabulary.states import TRANSITIONS, RunState, WaitState
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance


@dataclass(frozen=True)
class RecordedCall:
    """A store and how its time passes."""

    store: MemoryStore | DjangoStore

    def world(self, flow: str, plan: dict[int, Any] | None = None) -> World:
        body, event = FLOWS[flow]
        if isinstance(self.store, MemoryStore):
            elapse: Callable[[timedelta], object] = self.store.clock.advance
        else:
            elapse = partial(advance, self.store)
        Stage.world = World(self.store, elapse, body, plan or {}, event)
        return Stage.world


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest) -> RecordedCall:
    if request.param == "memory":
        return RecordedCall(MemoryStore())
    request.getfixturevalue("transactional_db")
    return RecordedCall(DjangoStore(alias_of("sqlite")))


pytestmark = pytest.mark.django_db(transaction=True, databases=[alias_of("sqlite")])


def record(world: World) -> dict[str, tuple[object, ...]]:
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
    assert run.crashes <= world.crashes < run.spec.max_crashes
    assert record(world) == record(golden)
    assert all(item[2] is not WaitState.WAITING for item in record(world).values())
    assert world.publications >= 1
    history = world.inner.runs.history(run.id)
    for before, after in pairwise(history):
        assert before.fence <= after.fence
        assert before.state is after.state or after.state in TRANSITIONS[before.state]
        slept = (before.verb, after.verb) == ("suspend", "wake") and not world.event
        # Only the manual clock moves what the history says; a database's rows move instead.
        if slept and isinstance(world.inner, MemoryStore):
            assert after.at - before.at >= NAP
    assert [entry.verb for entry in history].count("complete") == 1


def check_final(world: World) -> None:
    """Check that late nudges and sweeps change nothing."""
    before = world.inner.runs.history(world.run_id)
    effects, recorded = world.effects.copy(), record(world)
    world.boot("late")
    world.work(world.run_id)
    world.wait_a_while()
    assert len(world.inner.runs.history(world.run_id)) == len(before)
    assert (world.effects, record(world)) == (effects, recorded)
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
    place: RecordedCall, flow: str, fault: Fault
) -> None:
    golden = place.world(flow)
    golden.finish()
    for number, verb in golden.store.calls:
        world = place.world(flow, {number: fault})
        run = world.finish()
        assert world.store.calls[: number + 1] == golden.store.calls[: number + 1]
        check_laws(world, run, golden)
        again = fault is Fault.BEFORE and verb in (
            "checkpoints.record",
            "checkpoints.record_failure",
        )
        check_effects(world, golden, 1 if again else 0)
        check_final(world)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_run_survives_crashes_at_two_calls_of_the_store(flow: str) -> None:
    place = RecordedCall(MemoryStore())
    golden = place.world(flow)
    golden.finish()
    for first, _ in golden.store.calls:
        for later in range(1, 5):
            world = place.world(flow, {first: Fault.BEFORE, first + later: Fault.AFTER})
            check_laws(world, world.finish(), golden)
            check_effects(world, golden, 2)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_worker_that_was_thought_dead_writes_nothing_when_it_comes_back(flow: str) -> None:
    place = RecordedCall(MemoryStore())
    golden = place.world(flow)
    golden.finish()
    for number, _ in golden.store.calls:
        world = place.world(flow, {number: take_over})
        run = world.finish()
        check_laws(world, run, golden)
        check_effects(world, golden, 1)
        check_final(world)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_worker_writes_nothing_while_another_has_its_run(flow: str) -> None:
    place = RecordedCall(MemoryStore())
    golden = place.world(flow)
    golden.finish()
    for number in [number for number, verb in golden.store.calls if verb in FENCED]:
        world = place.world(flow, {number: claim_and_hold})
        run = world.finish()
        assert world.watch is None, "no test looked at what the first worker did"
        check_laws(world, run, golden)
        check_effects(world, golden, 1)


FENCED = (
    "checkpoints.record",
    "checkpoints.record_failure",
    "checkpoints.keep_failures",
    "waits.suspend",
    "runs.end",
    "commit",
)


def claim_and_hold() -> None:
    """Let another worker claim the run and do nothing with it for now."""
    world = Stage.world

    def run() -> None:
        world.inner.runs.recover(world.run_id, world.worker)
        claim = asked(world.run_id, task=world.definition.name, worker="rival")
        assert world.inner.runs.claim(claim)

    thread = Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    before = everything(world.inner, world.run_id)

    def compare() -> None:
        assert everything(world.inner, world.run_id) == before

    world.watch = compare
    world.crashes += 2  # the first worker's, and the rival's when its lease runs out


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
