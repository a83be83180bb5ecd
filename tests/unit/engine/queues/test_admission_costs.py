"""Admissions cost nothing where nothing is limited, and lose no slot to a fault."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from support.limited_tasks import SECOND, body, limited, nap, nudged, once, states
from trigger_celery.config import Config
from trigger_celery.declare.queue import Queue
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing import (
    Fault,
    FaultStore,
    Harness,
    RecordingDispatcher,
    SimulatedCrash,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Limits
from trigger_celery.vocabulary.states import RunState


def test_unlimited_runs_ask_nothing_of_queues(harness: Harness) -> None:
    task = harness.task(body)
    harness.engine.store = store = FaultStore(harness.memory)
    run_id = harness.trigger(task)
    execute(harness.engine, run_id, task)
    harness.cancel(harness.trigger(task))
    assert [verb for _, verb in store.calls] == [
        "runs.create",
        "remember_version",
        "runs.claim",
        "runs.end",
        "runs.create",
        "runs.cancel",
        "children.close",
    ]


def test_runs_without_limits_beside_a_limited_queue_ask_nothing_of_it(harness: Harness) -> None:
    limited(harness, concurrency_limit=1)
    task = harness.task(nap)
    execute(harness.engine, harness.trigger(task), task)
    harness.engine.store = store = FaultStore(harness.memory)
    execute(harness.engine, harness.trigger(task), task)
    assert not [verb for _, verb in store.calls if verb.startswith("queues.")]


def test_a_sweep_reads_once_where_no_run_is_in_line(harness: Harness) -> None:
    limited(harness, concurrency_limit=1)
    harness.engine.store = store = FaultStore(harness.memory)
    harness.sweep()
    tidied = [verb for _, verb in store.calls if verb.startswith("queues.")]
    assert tidied == ["queues.lines", "queues.clean_up"]
    store.calls.clear()
    harness.advance(59 * SECOND)
    harness.sweep()
    assert [verb for _, verb in store.calls if verb.startswith("queues.")] == ["queues.lines"]
    harness.advance(SECOND)
    harness.sweep()
    assert store.calls[-1][1] != "queues.lines"
    assert "queues.clean_up" in [verb for _, verb in store.calls]


def test_one_bad_line_holds_up_no_other_in_a_sweep(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("emails", "letters")
    tasks = [
        harness.task(body, name=name, queue=Queue(name, concurrency_limit=1)) for name in names
    ]
    sync_declared(harness.engine)
    with monkeypatch.context() as patch:
        patch.setattr(harness.memory.queues, "admit", _fails_for(set(names), harness))
        runs = [harness.trigger(task) for task in tasks]
    assert nudged(harness) == []
    monkeypatch.setattr(harness.memory.queues, "admit", _fails_for({"emails"}, harness))
    harness.sweep()
    assert nudged(harness) == runs[1:]
    assert "queue 'emails': runs in line could not be let in" in caplog.text


def _fails_for(names: set[str], harness: Harness) -> Callable[..., Any]:
    admit = type(harness.memory.queues).admit

    def fail(queue: str, **options: Any) -> Any:
        if queue in names:
            raise RuntimeError("a bug")
        return admit(harness.memory.queues, queue, **options)

    return fail


def test_many_are_let_in_batch_by_batch() -> None:
    with Harness(config=Config(sweep_batch=3)) as harness:
        task = limited(harness, concurrency_limit=0)
        runs = [harness.trigger(task) for _ in range(10)]
        harness.config = Config(sweep_batch=3, queues={"emails": {"concurrency_limit": 8}})
        harness.sweep()
        assert nudged(harness) == runs[:8]


def test_each_promise_is_nudged_once(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    harness.engine.dispatcher = dispatcher = RecordingDispatcher()
    first, second = harness.trigger(task), harness.trigger(task)
    harness.sweep()
    harness.execute(first)
    harness.sweep()
    assert [nudge.run_id for nudge in dispatcher.nudges] == [first, second]


@pytest.mark.parametrize("fault", Fault)
def test_no_slot_is_lost_to_a_fault_at_any_call_of_the_store(fault: Fault) -> None:
    for number in range(_carry(None, 0)):
        _carry(fault, number)


def _carry(fault: Fault | None, number: int) -> int:
    """Carry limited runs to their end with a fault at one call; return how many calls it was."""
    plan = {} if fault is None else {number: fault}
    with Harness(wrap=lambda store: FaultStore(store, plan)) as harness:
        store = harness.engine.store
        assert isinstance(store, FaultStore)
        harness.memory.queues.declare({"emails": Limits(concurrency=1)})
        task = harness.task(_step_and_nap, queue=Queue("emails", concurrency_limit=1))
        runs = [new_id() for _ in range(3)]
        for run_id in runs:
            _try(store, partial(trigger, harness.engine, task, id=run_id))
        while harness.dispatcher.nudges:
            nudge = harness.dispatcher.nudges.pop(0)
            _try(store, partial(harness.execute, nudge.run_id))
        calls = len(store.calls)
        harness.run_until_idle()
        assert states(harness, runs) == {RunState.COMPLETED}
        assert harness.memory.queues.lines() == []
        assert harness.memory.queues.holders("emails", limit=9) == []
        return calls


def _step_and_nap() -> None:
    once()
    nap()


def _try(store: FaultStore, call: Callable[[], object]) -> None:
    """Do it, again after a refusal, as a message that was not acknowledged comes again."""
    for _ in range(2):
        try:
            call()
        except (SimulatedCrash, StoreUnavailable):
            store.restart()
        else:
            return
