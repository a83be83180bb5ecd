"""Wherever a worker dies, a limit holds, and no run is left in line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from support.crash_flows import NAP, Stage, act
from support.crash_points import World
from support.databases import alias_of
from trigger_celery import sleep
from trigger_celery.body.children import Together
from trigger_celery.client.starting import run_together
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.testing import Fault, MemoryStore
from trigger_celery.vocabulary.records import OF_TASK, Limits, Run
from trigger_celery.vocabulary.states import RunState

MEMBERS = 2
LIMIT = 1
LINE = OF_TASK + "member"
LIMITED = {LINE: Limits(concurrency=LIMIT), OF_TASK + "flow-parent": Limits(concurrency=LIMIT)}

pytestmark = pytest.mark.django_db(transaction=True, databases=[alias_of("sqlite")])


def member(number: int) -> str:
    look()
    act(f"before {number}")
    sleep(NAP)
    return act(f"after {number}")


def look() -> None:
    """Note how many members execute now; one whose worker died does until its lease is over."""
    world = Stage.world
    assert isinstance(world, Crowd)
    states = [run.state for run in world.members]
    world.peak = max(world.peak, states.count(RunState.EXECUTING))


def parent(run: str) -> list[Any]:
    world = Stage.world
    asked = [Request(definition=world.tasks["member"], args=(n,)) for n in range(MEMBERS)]
    return [*run_together(world.engine, "member", asked, Together(), frame=sys._getframe())]


EFFECTS = Counter(f"{word} {number}" for word in ("before", "after") for number in range(MEMBERS))


class Crowd(World):
    """A world whose members wait for each other; ``peak`` is how many executed at a time."""

    peak = 0

    @property
    def members(self) -> list[Run]:
        """The members that were created."""
        ids = [child_id(self.run_id, "member", number) for number in range(MEMBERS)]
        return [run for run in map(self.inner.runs.get, ids) if run is not None]

    def check(self, run: Run, allowed: int) -> None:
        """Check that all have ended, and at most ``allowed`` bodies ran once more."""
        assert (run.state, run.error) == (RunState.COMPLETED, None)
        assert [member.state for member in self.members] == [RunState.COMPLETED] * MEMBERS
        assert self.peak == LIMIT
        assert list(self.inner.queues.lines()) == []
        assert list(self.inner.queues.holders(LINE, limit=9)) == []
        assert not EFFECTS - self.effects
        assert (self.effects - EFFECTS).total() <= allowed


@pytest.fixture
def make(timed_store: tuple[Any, Any]) -> Callable[..., Crowd]:
    """Return what makes a world with a limited task, on the store of this test."""
    store, elapse = timed_store
    store.queues.declare(LIMITED)

    def crowd(plan: dict[int, Any] | None = None) -> Crowd:
        Stage.world = world = Crowd(store, elapse, parent, plan or {}, others=(member,))
        return world

    return crowd


@pytest.mark.parametrize("fault", list(Fault))
def test_a_limit_survives_a_fault_at_every_call_of_the_store(
    make: Callable[..., Crowd], fault: Fault
) -> None:
    golden = make()
    golden.check(golden.finish(), 0)
    assert "queues.admit" in {verb for _, verb in golden.store.calls}
    for number, _ in golden.store.calls:
        world = make({number: fault})
        run = world.finish()
        # What an earlier world left to be published makes other calls of this one.
        verb = dict(world.store.calls).get(number)
        again = fault is Fault.BEFORE and verb == "checkpoints.record"
        world.check(run, 1 if again else 0)


def test_a_limit_survives_two_crashes() -> None:
    store = MemoryStore()
    store.queues.declare(LIMITED)
    Stage.world = golden = Crowd(store, store.clock.advance, parent, others=(member,))
    golden.finish()
    for first, _ in golden.store.calls:
        for later in range(1, 4):
            plan = {first: Fault.BEFORE, first + later: Fault.AFTER}
            Stage.world = world = Crowd(store, store.clock.advance, parent, plan, others=(member,))
            world.check(world.finish(), 2)
