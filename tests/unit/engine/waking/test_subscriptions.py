"""Tasks that events start: declared, stored, and started once for each event."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import Event, wait_for_event
from trigger_celery.client.events import send_event
from trigger_celery.declare.schedule import every
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.engine.waking import matching
from trigger_celery.engine.waking import subscriptions as subscribing
from trigger_celery.engine.waking.matching import match_event
from trigger_celery.engine.waking.subscriptions import started_id, synchronize
from trigger_celery.errors import DeclarationError, InvalidFilter, InvalidName
from trigger_celery.testing import Fault, FaultStore, Harness, MemoryStore, SimulatedCrash
from trigger_celery.vocabulary.records import NewEvent, NewRun, Run, StoredEvent, Subscription
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)


def paid(event: Event) -> object:
    return event.payload["n"]


def runs(harness: Harness, task: str = "paid") -> list[Run]:
    stored = harness.memory._core.tables.runs.values()
    return [row.run for row in stored if row.run.task == task]


def results(harness: Harness, task: str = "paid") -> list[object]:
    return [harness.result(run.id) for run in runs(harness, task)]


def stored(harness: Harness, payload: object, name: str = "order.paid") -> StoredEvent:
    """Store an event as a sender that dies before it does anything else."""
    text = harness.engine.codec.encode(payload)
    event = harness.memory.events.add(NewEvent(id="e-1", name=name, payload=text))
    assert event is not None
    return event


def test_each_matching_event_starts_one_run_with_the_event_as_its_argument(
    harness: Harness,
) -> None:
    harness.task(paid, on_event="order.paid", filter={"n": {"$gt": 1}, "customer.id": [7, 8]})
    for number in (1, 2, 3):
        harness.send_event("order.paid", {"n": number, "customer": {"id": 7}})
    harness.send_event("order.paid", {"n": 4, "customer": {"id": 9}})
    harness.send_event("order.unpaid", {"n": 5, "customer": {"id": 7}})
    harness.run_until_idle()
    assert results(harness) == [2, 3]


def test_the_run_gets_the_whole_event_and_records_it_as_its_origin(harness: Harness) -> None:
    def whole(event: Event) -> Event:
        return event

    harness.task(whole, on_event="e")
    event_id = harness.send_event("e", {"when": timedelta(1)}, id="evt-1", source="stripe")
    harness.run_until_idle()
    [run] = runs(harness, "whole")
    assert harness.result(run.id) == Event(
        id=event_id,
        name="e",
        payload={"when": timedelta(1)},
        received_at=harness.clock.now,
        source="stripe",
    )
    origin: Any = harness.engine.codec.decode(run.spec.origin)
    assert (origin["event"], origin["name"], origin["source"]) == ("evt-1", "e", "stripe")


def test_an_async_task_takes_the_event_too(harness: Harness) -> None:
    async def later(event: Event) -> object:
        return event.payload

    harness.task(later, on_event="e")
    harness.send_event("e", 5)
    harness.run_until_idle()
    assert results(harness, "later") == [5]


def test_one_event_starts_all_tasks_that_want_it_and_wakes_those_that_wait(
    harness: Harness,
) -> None:
    waiting = harness.task(lambda: wait_for_event("e").payload, name="waiting")
    waits = harness.trigger(waiting)
    harness.run_until_idle(NOW)
    for name in ("one", "two"):
        harness.task(lambda event: event.payload, name=name, on_event="e")
    harness.send_event("e", 1)
    harness.run_until_idle()
    assert results(harness, "one") == results(harness, "two") == [harness.result(waits)] == [1]


def test_an_event_that_is_sent_twice_starts_one_run_and_one_of_another_source_another(
    harness: Harness,
) -> None:
    harness.task(paid, on_event="order.paid")
    for source in ("", "stripe", "stripe", ""):
        assert harness.send_event("order.paid", {"n": 1}, id="e-1", source=source) == "e-1"
    harness.run_until_idle()
    assert results(harness) == [1, 1]


def test_an_event_that_is_matched_twice_starts_one_run(harness: Harness) -> None:
    harness.task(paid, on_event="order.paid")
    event = stored(harness, {"n": 1})
    assert [match_event(harness.engine, event) for _ in range(3)] == [1, 0, 0]
    assert [run.id for run in runs(harness)] == [started_id("paid", event)]
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [started_id("paid", event)]


def test_the_sweep_starts_what_a_sender_that_died_did_not(harness: Harness) -> None:
    harness.task(paid, on_event="order.paid")
    stored(harness, {"n": 1})
    harness.sweep()
    assert runs(harness) == []
    harness.advance(harness.config.nudge_interval)
    harness.run_until_idle()
    assert results(harness) == [1]


def test_runs_of_an_event_appear_and_vanish_with_the_senders_transaction(
    harness: Harness,
) -> None:
    harness.task(paid, on_event="order.paid")

    def send_and_fail() -> None:
        with harness.memory.transaction():
            harness.send_event("order.paid", {"n": 1}, id="e-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send_and_fail()
    with harness.memory.transaction():
        harness.send_event("order.paid", {"n": 2}, id="e-1")
        assert runs(harness) == []
    harness.run_until_idle()
    assert results(harness) == [2]


def test_a_run_that_an_event_started_does_not_find_it_again(harness: Harness) -> None:
    def collect(event: Event) -> list[object]:
        return [event.payload, wait_for_event("e").payload, wait_for_event("e").payload]

    harness.task(collect, on_event="e")
    event = stored(harness, 1, "e")
    match_event(harness.engine, event)
    harness.run_until_idle(NOW)
    match_event(harness.engine, event)
    harness.run_until_idle(NOW)
    [run] = runs(harness, "collect")
    assert run.state is RunState.SUSPENDED
    harness.send_event("e", 2)
    harness.send_event("e", 3)
    harness.run_until_idle(NOW)
    assert harness.result(run.id) == [1, 2, 3]
    assert len(runs(harness, "collect")) == 3


def test_a_run_that_a_body_starts_by_an_event_is_not_its_child(harness: Harness) -> None:
    harness.task(paid, on_event="order.paid")
    sender = harness.task(lambda: send_event("order.paid", {"n": 1}), name="sender")
    harness.trigger(sender)
    harness.run_until_idle()
    [run] = runs(harness)
    assert (run.spec.parent_id, harness.result(run.id)) == (None, 1)


def test_a_loop_of_waits_gets_each_event_once_and_in_order(harness: Harness) -> None:
    handled: list[object] = []

    @step
    def handle(payload: object) -> None:
        handled.append(payload)

    def loop() -> list[object]:
        got: list[object] = []
        while len(got) < 20:
            payload = wait_for_event("tick").payload
            handle(payload)
            got.append(payload)
        return got

    run_id = harness.trigger(harness.task(loop))
    for number in range(20):
        harness.send_event("tick", number)
        if number % 3 == 0:
            harness.run_until_idle(NOW)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == handled == list(range(20))


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_a_crash_amid_the_start_of_many_runs_starts_each_once(
    monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(subscribing, "BATCH", 2)
    monkeypatch.setattr(matching, "BATCH", 2)
    tasks = [f"task-{number}" for number in range(7)]

    def begin(harness: Harness) -> FaultStore:
        for task in tasks:
            harness.task(paid, name=task, on_event="order.paid")
        assert isinstance(harness.engine.store, FaultStore)
        return harness.engine.store

    with Harness(wrap=FaultStore) as harness:
        store = begin(harness)
        match_event(harness.engine, stored(harness, {"n": 1}))
        creations = [number for number, verb in store.calls if verb == "runs.create"]
    assert len(creations) == 4
    for number in creations:
        with Harness(wrap=lambda inner: FaultStore(inner, {number: fault})) as harness:  # noqa: B023
            store = begin(harness)
            with pytest.raises(SimulatedCrash):
                match_event(harness.engine, stored(harness, {"n": 1}))
            store.restart()
            harness.advance(harness.config.nudge_interval)
            harness.run_until_idle()
            assert [results(harness, task) for task in tasks] == [[1]] * len(tasks)


def test_large_events_start_runs_in_smaller_batches(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "ROOM", 2_500)
    for number in range(5):
        harness.task(paid, name=f"task-{number}", on_event="order.paid")
    sizes: list[int] = []
    create = harness.memory.runs.create

    def counted(new: Sequence[NewRun]) -> Collection[UUID]:
        sizes.append(len(new))
        return create(new)

    monkeypatch.setattr(harness.memory.runs, "create", counted)
    assert match_event(harness.engine, stored(harness, {"n": 1, "text": "x" * 1_000})) == 5
    assert match_event(harness.engine, stored_again(harness, {"n": 1, "text": "x" * 9_000})) == 5
    assert sizes == [2, 2, 1, 1, 1, 1, 1, 1]


def stored_again(harness: Harness, payload: object) -> StoredEvent:
    text = harness.engine.codec.encode(payload)
    event = harness.memory.events.add(NewEvent(id="e-2", name="order.paid", payload=text))
    assert event is not None
    return event


def test_an_event_of_the_largest_size_starts_its_run(harness: Harness) -> None:
    room = harness.config.payload_limit - len(json.dumps({"n": ""}))
    harness.task(lambda event: len(event.payload["n"]), name="large", on_event="e")
    harness.send_event("e", {"n": "x" * (room - 20)})
    harness.run_until_idle()
    assert results(harness, "large") == [room - 20]


def test_a_process_that_does_not_know_a_task_starts_its_runs_too(harness: Harness) -> None:
    harness.task(paid, on_event="order.paid", max_crashes=9)
    known = harness.engine.tasks.get("paid")
    assert known is not None
    harness.engine.tasks.remove("paid")
    harness.send_event("order.paid", {"n": 1})
    harness.engine.tasks.add(known)
    harness.send_event("order.paid", {"n": 2})
    harness.run_until_idle()
    assert results(harness) == [1, 2]
    assert [run.spec.max_crashes for run in runs(harness)] == [harness.config.max_crashes, 9]


def subscriptions(store: MemoryStore, name: str = "e") -> list[str]:
    return [each.task for each in store.subscriptions.of(name, after="", limit=99)]


def test_a_subscription_is_stored_once_and_removed_with_its_declaration(
    harness: Harness,
) -> None:
    elsewhere = Subscription(task="of-another-process", name="e", filter="{}")
    harness.memory.subscriptions.sync([elsewhere], [])
    for name in ("stays", "goes"):
        harness.task(lambda event: None, name=name, on_event="e")
    assert subscriptions(harness.memory) == ["goes", "of-another-process", "stays"]
    assert synchronize(harness.engine) == 0
    harness.engine.tasks.remove("goes")
    harness.task(lambda: None, name="goes")
    assert subscriptions(harness.memory) == ["of-another-process", "stays"]


def test_a_renamed_task_is_started_once_by_an_event_and_by_a_schedule(harness: Harness) -> None:
    hourly = every(timedelta(hours=1))
    harness.task(lambda event: None, name="old", on_event="e")
    harness.task(lambda: None, name="old-hourly", schedule=hourly)
    sync_declared(harness.engine)
    for name in ("old", "old-hourly"):  # the next release
        harness.engine.tasks.remove(name)
    harness.task(lambda event: None, name="new", aliases=["old"], on_event="e")
    harness.task(lambda: None, name="new-hourly", aliases=["old-hourly"], schedule=hourly)
    sync_declared(harness.engine)
    assert subscriptions(harness.memory) == ["new"]
    assert [each.task for each in harness.memory.schedules.all()] == ["new-hourly"]


def test_a_changed_declaration_replaces_the_one_before(harness: Harness) -> None:
    harness.task(paid, on_event="e", filter={"n": 1})
    harness.task(paid, on_event="e", filter={"n": 2})
    for number in (1, 2):
        harness.send_event("e", {"n": number})
    harness.task(paid, on_event="f")
    harness.send_event("e", {"n": 2})
    harness.send_event("f", {"n": 3})
    harness.run_until_idle()
    assert results(harness) == [2, 3]


def test_a_sweep_stores_the_declared_subscriptions(harness: Harness) -> None:
    harness.task(paid, on_event="e")
    harness.memory.subscriptions.sync([], ["paid"])
    harness.engine.subscribed.clear()
    harness.sweep()
    assert subscriptions(harness.memory) == ["paid"]


@pytest.mark.parametrize(
    ("body", "options", "kind", "message"),
    [
        (lambda: None, {"on_event": "e"}, DeclarationError, "as its only argument"),
        (lambda a, b: None, {"on_event": "e"}, DeclarationError, "as its only argument"),
        (lambda *, event: None, {"on_event": "e"}, DeclarationError, "as its only argument"),
        (lambda event: None, {"on_event": ""}, InvalidName, "on_event of task 'task'"),
        (lambda event: None, {"on_event": 5}, InvalidName, "on_event of task 'task'"),
        (lambda event: None, {"filter": {"a": 1}}, DeclarationError, "has a filter= but no"),
        (
            lambda event: None,
            {"on_event": "e", "filter": {"a": {"$gtt": 1}}},
            InvalidFilter,
            "did you mean '\\$gte?'",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(
    harness: Harness, body: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        harness.task(body, name="task", **options)
    assert harness.engine.tasks.get("task") is None


@pytest.mark.parametrize("field", ["name", "id", "source"])
@pytest.mark.parametrize("value", [5, "x" * 201, "a\nb"])
def test_an_event_with_a_bad_name_id_or_source_is_refused(
    harness: Harness, field: str, value: Any
) -> None:
    with pytest.raises(InvalidName):
        send_event(**{"name": "e", field: value})
    assert not harness.memory._core.tables.events
