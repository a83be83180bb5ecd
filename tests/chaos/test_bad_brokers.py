"""Nudges are lost, repeated and shuffled, the broker hangs and dies: only the time changes."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from support.chaos import Stage
from testproject.chaos import faulty, ledger, ledger_waiter
from testproject.shop.tasks import linear, sleeper
from trigger_celery import send_event
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.states import RunState

pytestmark = pytest.mark.chaos

NOT_FOR_EVER = 10
"""Seconds: many times the limit of a publication, also on a busy machine."""


@pytest.mark.parametrize("fault", ["drop", "drop-most", "repeat"])
def test_whatever_happens_to_nudges_the_outcome_is_the_same(stage: Stage, fault: str) -> None:
    engine = installed_engine()
    engine.dispatcher = faulty(fault, engine.dispatcher)
    stage.start("one", "two", fault=fault)
    expected: dict[UUID, object] = {}
    for number in range(4):
        expected[stage.trigger(linear, number)] = number + 1
        expected[stage.trigger(sleeper, 0.2)] = "slept"
        expected[stage.trigger(ledger, number)] = 0
        expected[stage.trigger(ledger_waiter, f"k-{number}", number)] = number
    for number in range(4):
        send_event("go", {"key": f"k-{number}", "n": number})

    # The next nudge of a run comes later each time: with most of them lost, time has to pass.
    stage.finish(hurry=fault == "drop-most")
    for run, value in expected.items():
        assert stage.result(run) == value
        assert stage.run(run).crashes == 0
        counts = stage.counts(run)
        assert counts.pop("moved", 2) == 2
        assert counts in ({"first": 1, "last": 1}, {"last": 1})
        assert stage.balance(run) in ((0, 0), (2, 0))


def test_a_hanging_broker_delays_a_trigger_by_its_time_limit_only(stage: Stage) -> None:
    stage.start("one")
    stage.redis.freeze()
    try:
        run, seconds = _timed_trigger(stage)
    finally:
        stage.redis.thaw()
    assert seconds < NOT_FOR_EVER

    stage.finish()
    assert stage.result(run) == 2
    stage.check_counts(run, {"first": 1, "last": 1})


def test_a_run_that_was_triggered_without_a_broker_executes_when_it_is_back(stage: Stage) -> None:
    stage.start("one")
    stage.redis.stop()
    try:
        run, seconds = _timed_trigger(stage)
        assert seconds < NOT_FOR_EVER
        assert stage.run(run).state is RunState.QUEUED
    finally:
        stage.redis.start()

    # A worker of Celery may end, with an AttributeError in kombu, when Redis goes away under it.
    stage.finish(supervised=True)
    assert stage.result(run) == 2
    stage.check_counts(run, {"first": 1, "last": 1})


def _timed_trigger(stage: Stage) -> tuple[UUID, float]:
    begun = time.monotonic()
    run = stage.trigger(linear, 1)
    return run, time.monotonic() - begun
