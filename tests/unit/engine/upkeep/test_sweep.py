"""One pass of the sweep moves on what is due, and only that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from trigger_celery import create_token
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.config import Config
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.upkeep import sweep as sweeping
from trigger_celery.errors import StoreUnavailable
from trigger_celery.ports import Store
from trigger_celery.testing import Fault, FaultStore, Harness, RecordingDispatcher
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewEvent, Nudge
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)


def nap() -> None:
    sleep(60)


def test_a_pass_over_nothing_does_nothing(harness: Harness) -> None:
    assert harness.sweep() == 0
    assert harness.dispatcher.nudges == []


def test_a_sweep_leaves_a_run_that_is_not_due_alone(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(nap))
    harness.run_until_idle(NOW)
    before = harness.run(run_id)
    harness.advance(timedelta(seconds=59))
    assert harness.sweep() == 0
    assert harness.run(run_id) == before


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
def test_a_backlog_is_moved_in_one_pass_of_several_batches(batch: int) -> None:
    with Harness(config=Config(sweep_batch=batch)) as harness:
        task = harness.task(nap)
        runs = [harness.trigger(task) for _ in range(10)]
        harness.run_until_idle(NOW)
        harness.advance(timedelta(seconds=60))
        assert harness.sweep() == 10
        assert {harness.run(run_id).state for run_id in runs} == {RunState.QUEUED}
        assert harness.sweep() == 0


def test_a_pass_ends_although_more_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "ROUNDS", 2)
    with Harness(config=Config(sweep_batch=1)) as harness:
        task = harness.task(nap)
        for _ in range(3):
            harness.trigger(task)
        harness.run_until_idle(NOW)
        harness.advance(timedelta(seconds=60))
        assert harness.sweep() == 2
        assert harness.sweep() == 1


def test_a_run_whose_nudge_was_lost_is_nudged_again(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(nap))
    assert len(harness.dispatcher.nudges) == 1
    harness.advance(harness.config.nudge_interval)
    harness.sweep()
    harness.sweep()
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [run_id] * 2


def test_a_run_with_a_start_time_is_not_nudged_before(harness: Harness) -> None:
    task = harness.task(lambda: 1, name="task")
    run_id = trigger(harness.engine, task, options=TriggerOptions(delay=timedelta(hours=1)))
    assert harness.dispatcher.nudges == []
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.run(run_id).started_at == start + timedelta(hours=1)


def test_a_pass_ends_when_its_time_is_over_and_the_next_goes_on() -> None:
    with Harness(config=Config(sweep_batch=1)) as harness:
        task = harness.task(nap)
        for _ in range(5):
            harness.trigger(task)
        harness.run_until_idle(NOW)
        harness.advance(timedelta(seconds=60))

        class Slow(RecordingDispatcher):
            def nudge(self, nudges: Sequence[Nudge]) -> None:
                harness.clock.advance(timedelta(seconds=0.4))

        harness.engine.dispatcher = Slow()
        assert harness.sweep() == 3
        assert harness.sweep() == 2


def approval() -> None:
    wait_for_event("approved", timeout=60, default=None)


def test_a_pass_waits_for_no_database_that_goes_away(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that sweeps hears a wish to end between two passes only."""

    def prepare() -> None:
        harness.trigger(harness.task(nap))
        harness.trigger(harness.task(approval))
        harness.run_until_idle(NOW)
        harness.memory.events.add(NewEvent(id=str(new_id()), name="approved", payload="{}"))
        create_token(timeout=60)
        harness.advance(timedelta(seconds=60))

    def sweep(store: Store) -> None:
        harness.engine.store = store
        try:
            harness.sweep()
        finally:
            harness.engine.store = harness.memory

    prepare()
    counted = FaultStore(harness.memory)
    sweep(counted)
    met: set[str] = set()
    for number in range(len(counted.calls)):
        harness.sweep()
        prepare()
        began = harness.clock.monotonic()
        away = FaultStore(harness.memory, dict.fromkeys(range(number, 999), Fault.REFUSED))
        with suppress(StoreUnavailable):
            sweep(away)
        met.add(away.calls[-1][1])
        assert harness.clock.monotonic() == began, away.calls
    assert met >= {"sweeps.due", "events.audience", "schedules.due"}
    assert "Traceback" not in caplog.text
