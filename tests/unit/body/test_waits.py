"""Sleeping and waiting for events: nothing is lost, nothing is early, nothing is taken twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, sleep_until, wait_for_event
from trigger_celery.errors import NotInRun
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)
START = datetime(2030, 1, 1, tzinfo=UTC)


def approval(timeout: float | None = None) -> object:
    return wait_for_event("approved", {"id": 7}, timeout=timeout).payload


def suspended(harness: Harness, body: Any, *args: object) -> UUID:
    run_id = harness.trigger(harness.task(body, name="task"), *args)
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    return run_id


def failure_of(harness: Harness, body: Any) -> str:
    run_id = harness.trigger(harness.task(body, name="task"))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    assert harness.run(run_id).attempt == 1
    return harness.stored(run_id).error or ""


def test_a_sleep_is_never_early(harness: Harness) -> None:
    run_id = suspended(harness, lambda: sleep(60))
    harness.advance(timedelta(seconds=60) - timedelta(microseconds=1))
    harness.sweep()
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.advance(timedelta(microseconds=1))
    harness.sweep()
    assert harness.run(run_id).state is RunState.QUEUED


def test_a_replay_does_not_move_the_end_of_a_sleep(harness: Harness) -> None:
    def body(length: int) -> None:
        sleep(length)

    run_id = suspended(harness, body, 60)
    harness.engine.store.runs.recover(run_id, harness.run(run_id).worker)
    harness.run_until_idle()
    assert harness.run(run_id).finished_at == START + timedelta(seconds=60)


def test_a_sleep_of_zero_is_over_at_the_next_sweep(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: sleep(0), name="task"))
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.COMPLETED


def test_sleep_until_an_aware_time_ends_then(harness: Harness) -> None:
    when = datetime(2030, 1, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    run_id = suspended(harness, lambda: sleep_until(when))
    harness.run_until_idle()
    assert harness.run(run_id).finished_at == when


def test_sleep_until_a_time_that_passed_meanwhile_is_over_at_once(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: sleep_until(START), name="task"))
    harness.advance(timedelta(hours=1))
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.COMPLETED


@pytest.mark.parametrize(
    "when",
    [
        START - timedelta(microseconds=1),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1899, 12, 31, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo")),
    ],
)
def test_sleep_until_a_time_before_the_run_is_over_at_once(
    harness: Harness, when: datetime
) -> None:
    def body() -> str:
        sleep_until(when)
        return "done"

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == "done"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda: sleep_until(datetime(9000, 1, 1, tzinfo=UTC)), "between the years"),
        (lambda: sleep_until(datetime(2031, 1, 1)), "an aware datetime"),
        (lambda: sleep(-1), "to be zero or more"),
        (lambda: sleep(float("nan")), "at most a hundred years"),
        (lambda: sleep(True), "to be a timedelta or seconds"),
        (lambda: wait_for_event("e", timeout=-1), "to be zero or more"),
        (lambda: wait_for_event(""), "printable text of 1 to 200"),
        (lambda: wait_for_event("e", {"a": [[1]]}), "expected a scalar"),
        (lambda: wait_for_event("e", {"a b": 1}), "filter path 'a b'"),
        (lambda: wait_for_event("e", {"a.b": 1, "a": {"b": 2}}), "names one path twice"),
    ],
)
def test_a_wait_that_makes_no_sense_fails_the_run_at_once(
    harness: Harness, body: Any, message: str
) -> None:
    assert message in failure_of(harness, body)


def test_waits_need_a_run() -> None:
    with pytest.raises(NotInRun, match=r"sleep\(\) only works inside a durable task"):
        sleep(1)
    with pytest.raises(NotInRun, match=r"wait_for_event\(\)"):
        wait_for_event("approved")
    with pytest.raises(NotInRun, match=r"sleep_until\(\)"):
        sleep_until(START)


def test_an_event_before_the_wait_is_not_missed(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(approval))
    harness.send_event("approved", {"id": 7, "by": "ann"})
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == {"id": 7, "by": "ann"}


def test_an_event_from_before_the_run_does_not_count(harness: Harness) -> None:
    harness.send_event("approved", {"id": 7})
    harness.advance(timedelta(seconds=1))
    run_id = suspended(harness, approval)
    assert harness.waits(run_id) == {"approved": WaitState.WAITING}


def test_an_event_after_the_wait_wakes_the_run(harness: Harness) -> None:
    run_id = suspended(harness, approval)
    harness.send_event("approved", {"id": 7})
    assert harness.run(run_id).state is RunState.QUEUED
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == {"id": 7}


def test_an_event_while_a_step_runs_is_not_missed(harness: Harness) -> None:
    @step
    def send() -> None:
        harness.send_event("approved", {"id": 7})

    def body() -> object:
        send()
        return approval()

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == {"id": 7}


def test_an_event_has_its_name_id_source_and_time(harness: Harness) -> None:
    def body() -> list[object]:
        event = wait_for_event("approved")
        return [event.id, event.name, event.payload, event.received_at]

    run_id = suspended(harness, body)
    harness.advance(timedelta(seconds=3))
    harness.send_event("approved", (1, 2), id="e-1")
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == ["e-1", "approved", (1, 2), START + timedelta(seconds=3)]


def test_an_event_may_be_returned(harness: Harness) -> None:
    run_id = suspended(harness, lambda: wait_for_event("approved"))
    harness.send_event("approved", 5)
    harness.run_until_idle(NOW)
    assert harness.result(run_id).payload == 5


def test_a_wait_without_an_event_times_out(harness: Harness) -> None:
    assert "no event 'approved' matched within 0:01:00" in failure_of(harness, lambda: approval(60))


def test_a_timeout_may_be_caught(harness: Harness) -> None:
    def body() -> str:
        try:
            approval(60)
        except TimeoutError:
            sleep(1)
            return "too late"
        return "?"

    run_id = suspended(harness, body)
    harness.run_until_idle()
    assert harness.result(run_id) == "too late"


@pytest.mark.parametrize("default", [None, {"ok": False}])
def test_a_default_stands_in_for_an_event(harness: Harness, default: object) -> None:
    run_id = suspended(harness, lambda: wait_for_event("e", timeout=60, default=default))
    harness.run_until_idle()
    assert harness.result(run_id) == default


def test_an_event_in_time_beats_the_timeout(harness: Harness) -> None:
    run_id = suspended(harness, approval, 60)
    harness.advance(timedelta(seconds=59))
    harness.send_event("approved", {"id": 7})
    harness.advance(timedelta(seconds=10))
    harness.run_until_idle()
    assert harness.result(run_id) == {"id": 7}
    assert harness.waits(run_id) == {"approved": WaitState.EVENT}


def test_an_event_after_the_timeout_changes_nothing(harness: Harness) -> None:
    run_id = suspended(harness, lambda: wait_for_event("e", timeout=60, default="none"))
    harness.advance(timedelta(seconds=60))
    harness.sweep()
    harness.send_event("e", "late")
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == "none"
    assert harness.waits(run_id) == {"e": WaitState.TIMEOUT}


def three_events() -> list[object]:
    return [wait_for_event("tick").payload for _ in range(3)]


def test_waits_in_a_loop_get_each_event_once_and_in_order(harness: Harness) -> None:
    run_id = suspended(harness, three_events)
    for number in range(5):
        harness.send_event("tick", number)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [0, 1, 2]


def test_events_that_came_one_by_one_are_taken_one_by_one(harness: Harness) -> None:
    run_id = suspended(harness, three_events)
    for number in range(3):
        harness.send_event("tick", number)
        harness.run_until_idle(NOW)
    assert harness.result(run_id) == [0, 1, 2]


def test_each_run_takes_an_event_for_itself(harness: Harness) -> None:
    task = harness.task(three_events)
    runs = [harness.trigger(task) for _ in range(2)]
    for number in range(3):
        harness.send_event("tick", number)
    harness.run_until_idle(NOW)
    assert [harness.result(run_id) for run_id in runs] == [[0, 1, 2]] * 2


@pytest.mark.parametrize("value", ["7", 7.0, True, None, [7], {"id": 7}])
def test_a_value_of_another_type_does_not_match(harness: Harness, value: object) -> None:
    run_id = suspended(harness, approval)
    harness.send_event("approved", {"id": value})
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("approved", {"id": 7, "more": value})
    assert harness.run(run_id).state is RunState.QUEUED


def test_nested_and_dotted_filters_mean_the_same(harness: Harness) -> None:
    def body() -> list[object]:
        first = wait_for_event("e", {"customer": {"id": 7}, "kind": "new"})
        second = wait_for_event("e", {"customer.id": 7, "kind": "new"})
        return [first.payload["n"], second.payload["n"]]

    run_id = suspended(harness, body)
    for number in range(2):
        harness.send_event("e", {"customer": {"id": 7}, "kind": "new", "n": number})
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [0, 1]


def test_an_event_of_one_id_wakes_once(harness: Harness) -> None:
    run_id = suspended(harness, three_events)
    assert harness.send_event("tick", 1, id="one") == "one"
    assert harness.send_event("tick", 1, id="one") == "one"
    harness.run_until_idle(NOW)
    assert harness.waits(run_id) == {"tick": WaitState.EVENT, "tick#2": WaitState.WAITING}


def test_a_wait_may_have_a_key_of_its_own(harness: Harness) -> None:
    run_id = suspended(harness, lambda: sleep(1, key="nap"))
    assert list(harness.waits(run_id)) == ["nap"]


def test_a_wait_of_an_async_body_is_where_the_body_calls_it(harness: Harness) -> None:
    async def body() -> None:
        await wait_for_event("approved")

    run_id = suspended(harness, body)
    waits: Any = harness.memory.dump()["waits"]
    [wait] = [row["wait"] for row in waits.values() if row["run_id"] == run_id]
    assert wait["source"] == f"test_waits.py:{body.__code__.co_firstlineno + 1}"
