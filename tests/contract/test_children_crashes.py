"""Wherever a worker dies, every child of a run exists once and its parent is woken once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from support.crash_flows import Stage, act
from support.crash_points import World
from support.databases import alias_of
from trigger_celery import wait_for_event
from trigger_celery.body.children import Together
from trigger_celery.client.starting import run_together
from trigger_celery.engine.execution import fan_out as fanning
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.testing import Fault, MemoryStore
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

CHILDREN = 3
SHORT = 2  # children in one batch, so that a fan-out has two of them

pytestmark = pytest.mark.django_db(transaction=True, databases=[alias_of("sqlite")])


def child(number: int) -> str:
    return act(f"child {number}")


def patient(number: int) -> str:
    wait_for_event("never")
    return act(f"child {number}")


def parent(run: str) -> list[Any]:
    return [*_started("child"), act("end")]


def patient_parent(run: str) -> list[Any]:
    return [*_started("patient"), act("end")]


def _started(name: str) -> Any:
    world = Stage.world
    asked = [Request(definition=world.tasks[name], args=(n,)) for n in range(CHILDREN)]
    return run_together(world.engine, name, asked, Together(), frame=sys._getframe())


@pytest.fixture
def make(timed_store: tuple[Any, Any]) -> Callable[..., World]:
    """Return what makes a world with a parent, on the store of this test."""
    store, elapse = timed_store

    def world(plan: dict[int, Any] | None = None, body: Callable[..., Any] = parent) -> World:
        Stage.world = World(store, elapse, body, plan or {}, others=(child, patient))
        return Stage.world

    return world


@pytest.fixture(autouse=True)
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanning, "BATCH", SHORT)


def check_family(world: World, run: Run, allowed: int) -> None:
    """Check that there is one of each, that all are published, and that one wake-up came."""
    assert (run.state, run.error) == (RunState.COMPLETED, None)
    ids = [child_id(run.id, "child", number) for number in range(CHILDREN)]
    for run_id in ids:
        each = world.inner.runs.get(run_id)
        assert each is not None
        assert each.state is RunState.COMPLETED
    history = world.inner.runs.history(run.id)
    verbs = Counter(entry.verb for entry in history)
    assert (verbs["wake"], verbs["complete"]) == (1, 1)
    starts = [entry.data for entry in history if entry.verb == "start children"]
    assert [sum(str(run_id) in data for data in starts) for run_id in ids] == [1] * CHILDREN
    wanted = Counter({**{f"child {number}": 1 for number in range(CHILDREN)}, "end": 1})
    assert not wanted - world.effects
    assert (world.effects - wanted).total() <= allowed


@pytest.mark.parametrize("fault", list(Fault))
def test_a_family_survives_a_fault_at_every_call_of_the_store(
    make: Callable[..., World], fault: Fault
) -> None:
    golden = make()
    golden_run = golden.finish()
    check_family(golden, golden_run, 0)
    assert {"children.create", "children.live", "children.ends"} <= {
        verb for _, verb in golden.store.calls
    }
    for number, _ in golden.store.calls:
        world = make({number: fault})
        run = world.finish()
        # What an earlier world left to be published makes other calls of this one.
        verb = dict(world.store.calls).get(number)
        assert run.output == golden_run.output
        again = fault is Fault.BEFORE and verb == "checkpoints.record"
        check_family(world, run, 1 if again else 0)


def test_a_family_survives_two_crashes() -> None:
    store = MemoryStore()
    Stage.world = golden = World(store, store.clock.advance, parent, others=(child,))
    golden.finish()
    for first, _ in golden.store.calls:
        for later in range(1, 5):
            plan = {first: Fault.BEFORE, first + later: Fault.AFTER}
            Stage.world = World(store, store.clock.advance, parent, plan, others=(child,))
            run = Stage.world.finish()
            check_family(Stage.world, run, 2)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_canceled_parent_cancels_its_children_whatever_fails(
    make: Callable[..., World], fault: Fault
) -> None:
    golden = make(body=patient_parent)
    _cancel_in_the_middle(golden)
    for number, _ in golden.store.calls:
        _cancel_in_the_middle(make({number: fault}, body=patient_parent))


def _cancel_in_the_middle(world: World) -> None:
    """Cancel the parent when its children were started, and work until all have ended."""
    ids = [child_id(world.run_id, "patient", number) for number in range(CHILDREN)]
    for _ in range(200):
        with world.faults():
            run = world.run
            suspended = run is not None and run.state is RunState.SUSPENDED
            if run is not None and suspended:
                run_control.cancel(world.engine, run.id, "enough")
                continue
            world.act(run)
        found = [world.inner.runs.get(run_id) for run_id in (world.run_id, *ids)]
        if all(each is not None and each.published_at is not None for each in found):
            break
    states = {each.state for each in found if each is not None}
    assert states == {RunState.CANCELED}
    assert not world.effects
