"""A worker that dies around a trigger in a body: what was to be started exists once."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from support.crash_points import World
from trigger_celery import TriggerOptions
from trigger_celery.client.starting import start_batch, start_one
from trigger_celery.declare.definition import define
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.testing import Fault, MemoryStore


def child(number: int) -> int:
    return number


CHILD = define(child, name="child")


def requests(*, keyed: bool) -> list[Request]:
    return [
        Request(
            definition=CHILD,
            args=(number,),
            options=TriggerOptions(
                idempotency_key=f"k-{number}" if keyed else None, idempotency_scope="global"
            ),
        )
        for number in range(3)
    ]


def world(*, keyed: bool, plan: dict[int, Fault]) -> World:
    """Return a run that starts one run and a batch of two from its body."""

    def parent(run_id: str) -> list[Any]:
        first, *others = requests(keyed=keyed)
        frame = sys._getframe()
        one = start_one(here.engine, first, frame=frame)
        many = start_batch(here.engine, others, "child", frame=frame)
        return [[handle.id, handle.created] for handle in (one, *many)]

    store = MemoryStore()
    here = World(store, store.clock.advance, parent, plan=plan, others=(child,))
    return here


def faultless(*, keyed: bool) -> int:
    """Return how many calls of the store the run takes."""
    here = world(keyed=keyed, plan={})
    here.finish()
    return len(here.store.calls)


CASES = [
    pytest.param(keyed, number, fault, id=f"{'keyed' if keyed else 'plain'}-{number}-{fault}")
    for keyed in (False, True)
    for number in range(faultless(keyed=keyed))
    for fault in Fault
]


@pytest.mark.parametrize(("keyed", "number", "fault"), CASES)
def test_what_a_body_starts_exists_once_wherever_its_worker_dies(
    keyed: bool, number: int, fault: Fault
) -> None:
    here = world(keyed=keyed, plan={number: fault})
    run = here.finish()
    assert run.state == "completed"
    handles: Any = here.engine.codec.decode(run.output or "")
    assert [created for _, created in handles] == [True] * 3
    stored: Any = here.inner.dump()["runs"]  # type: ignore[attr-defined]  # it is in memory
    children = {run_id for run_id in stored if run_id != here.run_id}
    assert children == {run_id for run_id, _ in handles}
