"""The sweep deletes events after their time, in small batches, and none that is still needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from trigger_celery.body.waits import wait_for_event
from trigger_celery.config import Config
from trigger_celery.engine.upkeep import retention
from trigger_celery.engine.upkeep.retention import GRACE, PAUSE
from trigger_celery.errors import DeclarationError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import NewEvent
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
KEPT = Config().event_retention + GRACE
MOMENT = timedelta(seconds=1)


def ids(harness: Harness) -> list[str]:
    return [row.event.id for row in harness.memory._core.tables.events.values()]


def test_the_sweep_deletes_events_whose_time_is_over(harness: Harness) -> None:
    harness.send_event("e", 1, id="old")
    harness.advance(KEPT - MOMENT)
    harness.send_event("e", 2, id="young")
    harness.sweep()
    assert ids(harness) == ["old", "young"]
    harness.advance(timedelta(seconds=PAUSE))
    harness.sweep()
    assert ids(harness) == ["young"]


def test_an_event_that_a_run_waited_for_is_there_for_every_replay(harness: Harness) -> None:
    def body() -> list[object]:
        first = wait_for_event("e", {"n": 1}).payload
        return [first, wait_for_event("e", {"n": 2}).payload]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    harness.send_event("e", {"n": 1}, id="taken")
    harness.send_event("e", {"n": 3}, id="not taken")
    harness.run_until_idle(NOW)
    harness.advance(KEPT * 2)
    harness.sweep()
    assert ids(harness) == ["taken"]
    harness.send_event("e", {"n": 2})
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.COMPLETED
    assert harness.result(run_id) == [{"n": 1}, {"n": 2}]


def test_an_event_that_no_process_could_match_stays(harness: Harness) -> None:
    harness.memory.events.add(NewEvent(id="unreadable", name="e", payload="no JSON"))
    harness.advance(KEPT * 2)
    harness.sweep()
    assert ids(harness) == ["unreadable"]


def test_each_sweep_looks_at_a_bounded_number_of_events(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        harness.send_event("e", number, id=str(number))
    harness.advance(KEPT + MOMENT)
    left = []
    for _ in range(4):
        harness.sweep()
        left.append(len(ids(harness)))
    assert left == [3, 1, 0, 0]


def test_between_two_rounds_a_sweep_asks_for_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    purge = harness.memory.events.purge

    def counted(**options: Any) -> int:
        calls.append(options)
        return purge(**options)

    monkeypatch.setattr(harness.memory.events, "purge", counted)
    for _ in range(3):
        harness.sweep()
    assert len(calls) == 1
    harness.advance(timedelta(seconds=PAUSE))
    harness.sweep()
    assert len(calls) == 2


def test_the_time_is_a_setting() -> None:
    day = Config.from_mapping({"EVENT_RETENTION": 86_400})
    with Harness(config=day) as harness:
        harness.send_event("e", 1)
        harness.advance(timedelta(days=1) + GRACE + MOMENT)
        harness.sweep()
        assert ids(harness) == []


@pytest.mark.parametrize("value", [0, -1, "30 days", None, True])
def test_a_time_that_makes_no_sense_is_refused(value: object) -> None:
    with pytest.raises(DeclarationError, match="EVENT_RETENTION"):
        Config.from_mapping({"EVENT_RETENTION": value})
