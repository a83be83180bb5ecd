"""Values that differ each time, events that are sent and runs that are started: once a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery.body.context import heartbeat, require_session
from trigger_celery.body.steps import step
from trigger_celery.body.values import now, random, uuid4
from trigger_celery.body.waits import sleep, sleep_until
from trigger_celery.client.access import install_engine
from trigger_celery.client.events import send_event
from trigger_celery.errors import InvalidName, NotInRun, RunFailed, UsageError
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.values import register
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)


def stored_events(harness: Harness) -> list[tuple[str, str]]:
    tables: Any = harness.memory.dump()
    return [(row["event"]["name"], row["event"]["id"]) for row in tables["events"].values()]


def test_values_are_the_same_on_each_replay(harness: Harness) -> None:
    seen: list[list[object]] = []

    def body() -> None:
        seen.append([now(), uuid4(), random(), now(), uuid4()])
        sleep(1)

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert seen[0] == seen[1]
    assert seen[0][1] != seen[0][4]
    assert list(harness.steps(run_id)) == ["now", "uuid4", "random", "now#2", "uuid4#2"]
    assert [type(value) for value in seen[0][:3]] == [datetime, UUID, float]


def test_now_is_the_time_of_the_database(harness: Harness) -> None:
    def body() -> list[datetime]:
        begun = now()
        sleep(timedelta(days=30))
        sleep_until(now() + timedelta(seconds=1))
        return [begun, now()]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    passed = timedelta(days=30, seconds=1)
    started_at = harness.run(run_id).started_at
    assert started_at is not None
    assert harness.result(run_id) == [started_at, started_at + passed]


def test_now_moves_on_within_a_segment_and_inside_of_a_step(harness: Harness) -> None:
    @step
    def work() -> datetime:
        harness.advance(timedelta(seconds=5))
        return now()

    def body() -> list[datetime]:
        return [now(), work(), now()]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    first, inside, last = harness.result(run_id)
    assert (inside - first, last - first) == (timedelta(seconds=5), timedelta(seconds=5))


def test_values_are_plain_outside_of_a_body(harness: Harness) -> None:
    @step
    def inside() -> list[object]:
        return [now(), uuid4(), random()]

    run_id = harness.trigger(harness.task(lambda: inside(), name="task"))
    harness.run_until_idle()
    assert list(harness.steps(run_id)) == ["inside"]
    assert now().tzinfo is UTC
    assert uuid4() != uuid4()
    assert 0 <= random() < 1


def test_an_event_of_a_body_is_sent_once(harness: Harness) -> None:
    def body() -> list[object]:
        sent: list[object]
        sent = [send_event("done", 1), send_event("done", 2), send_event("done", id="own")]
        sleep(1)
        return sent

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    events = stored_events(harness)
    assert [name for name, _ in events] == ["done"] * 3
    assert [event_id for _, event_id in events] == harness.result(run_id)
    assert len(set(events)) == 3
    assert list(harness.steps(run_id)) == ["send done", "send done#2", "send done#3"]


def test_an_event_is_not_sent_again_when_its_checkpoint_was_lost() -> None:
    def body() -> str:
        return send_event("done", 1)

    with Harness(wrap=FaultStore) as harness:
        harness.trigger(harness.task(body))
        harness.run_until_idle()
        assert isinstance(harness.engine.store, FaultStore)
        number = next(n for n, verb in harness.engine.store.calls if verb == "checkpoints.record")
    plan = {number: Fault.BEFORE}
    with Harness(wrap=lambda store: FaultStore(store, plan)) as harness:
        store = harness.engine.store
        assert isinstance(store, FaultStore)
        run_id = harness.trigger(harness.task(body))
        with pytest.raises(SimulatedCrash):
            harness.run_until_idle()
        store.restart()
        harness.run_until_idle()
        assert stored_events(harness) == [("done", harness.result(run_id))]


def test_event_ids_fit_whatever_the_key_is(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: send_event("e" * 200), name="task"))
    harness.run_until_idle()
    assert len(harness.result(run_id)) == 36


def test_an_event_of_a_step_is_sent_by_the_step_itself(harness: Harness) -> None:
    @step
    def inside() -> str:
        return send_event("done")

    run_id = harness.trigger(harness.task(lambda: inside(), name="task"))
    harness.run_until_idle()
    assert list(harness.steps(run_id)) == ["inside"]
    assert stored_events(harness) == [("done", harness.result(run_id))]


def test_an_event_of_plain_code_is_sent_with_its_transaction(harness: Harness) -> None:
    def send_and_fail() -> None:
        with harness.memory.transaction():
            send_event("done")
            raise LookupError

    with pytest.raises(LookupError):
        send_and_fail()
    assert stored_events(harness) == []
    with harness.memory.transaction():
        sent = send_event("done", id="e-1")
        assert stored_events(harness) == []
    assert stored_events(harness) == [("done", sent)] == [("done", "e-1")]


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 5])
def test_an_event_needs_a_name(harness: Harness, name: Any) -> None:
    with pytest.raises(InvalidName):
        send_event(name)
    with pytest.raises(InvalidName):
        send_event("good", id=name)


def test_calls_of_plain_code_need_an_engine() -> None:
    before = install_engine(None)
    try:
        with pytest.raises(UsageError, match="not set up in this process"):
            send_event("done")
    finally:
        install_engine(before)
    with pytest.raises(NotInRun, match=r"heartbeat\(\)"):
        heartbeat()


def test_child_runs_have_the_same_ids_on_each_replay(harness: Harness) -> None:
    seen: list[list[UUID]] = []

    def body() -> None:
        session = require_session("test")
        seen.append([session.child_id("child"), session.child_id("child")])
        sleep(1)
        seen[-1].append(session.child_id("other"))

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.COMPLETED
    assert seen[1][:2] == seen[0][:2]
    assert len(set(seen[1])) == 3


def test_a_child_is_not_started_while_a_body_is_left(harness: Harness) -> None:
    def body() -> None:
        session = require_session("test")
        try:
            sleep(60)
        finally:
            children.append(session.child_id("child"))

    children: list[UUID] = []
    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    assert children == []
    harness.run_until_idle()
    assert len(children) == 1


def read(fields: dict[str, int]) -> Once:
    raise ValueError("it has a number already")


@register(name="test_recorded_values.Once", load=read)
@dataclass
class Once:
    """What no stored form can be made into again."""

    number: int


def numbered() -> Once:
    return Once(1)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_value_that_cannot_be_read_back_fails_the_step_and_is_not_recorded(
    harness: Harness, atomic: bool
) -> None:
    run_id = harness.trigger(harness.task(step(atomic=atomic)(numbered), name="t"))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    assert harness.steps(run_id) == {}


def test_a_result_that_cannot_be_read_back_fails_the_run(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(numbered))
    harness.run_until_idle()
    with pytest.raises(RunFailed, match="DecodeError: .*it has a number already"):
        harness.result(run_id)
