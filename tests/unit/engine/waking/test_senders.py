"""Senders of events: waits and tasks may want one source, and an id stands for one event."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import Event, wait_for_event
from trigger_celery.client.events import preview_event, send_event
from trigger_celery.declare.options import Debounce, TriggerOptions
from trigger_celery.engine.runs import idempotency
from trigger_celery.engine.runs.trigger import Request, start
from trigger_celery.engine.waking.events import emit
from trigger_celery.errors import DeclarationError, EventConflict, InvalidName
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
SOURCES = ("stripe", "api:shop", "")


def waiting(harness: Harness, source: str | None) -> UUID:
    def body() -> object:
        return wait_for_event("paid", {"n": 1}, source=source).source

    run_id = harness.trigger(harness.task(body, name=f"from {source}"))
    harness.run_until_idle(NOW)
    return run_id


@pytest.mark.parametrize("wanted", SOURCES)
def test_a_wait_is_ended_by_events_from_its_source_only(harness: Harness, wanted: str) -> None:
    run_id = waiting(harness, wanted)
    for source in SOURCES:
        if source != wanted:
            harness.send_event("paid", {"n": 1}, source=source)
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("paid", {"n": 2}, source=wanted)
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("paid", {"n": 1}, source=wanted)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == wanted


def test_a_wait_that_names_no_source_is_ended_by_any(harness: Harness) -> None:
    run_id = waiting(harness, None)
    harness.send_event("paid", {"n": 1}, source="api:shop")
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == "api:shop"


def test_a_wait_takes_the_first_stored_event_of_its_source(harness: Harness) -> None:
    def body() -> object:
        late()
        return wait_for_event("paid", source="stripe").id

    @step
    def late() -> None:
        for number, source in enumerate(("", "api:shop", "stripe", "stripe")):
            harness.send_event("paid", number, id=f"e-{number}", source=source)

    run_id = harness.trigger(harness.task(body, name="late"))
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == "e-2"


def test_events_start_tasks_that_want_their_source(harness: Harness) -> None:
    def body(event: Event) -> object:
        return event.source

    harness.task(body, name="ours", on_event="paid", source="")
    harness.task(body, name="stripes", on_event="paid", source="stripe", filter={"n": 1})
    harness.task(body, name="any", on_event="paid")

    def started(source: str, n: int = 1) -> list[str]:
        before = set(harness.memory._core.tables.runs)
        harness.send_event("paid", {"n": n}, source=source)
        rows = harness.memory._core.tables.runs
        return sorted(rows[run_id].run.spec.task for run_id in set(rows) - before)

    assert started("") == ["any", "ours"]
    assert started("stripe") == ["any", "stripes"]
    assert started("stripe", n=2) == ["any"]
    assert started("api:shop") == ["any"]


def test_a_preview_says_what_an_event_of_this_source_would_do(harness: Harness) -> None:
    waiting(harness, "stripe")
    assert preview_event("paid", {"n": 1}, source="stripe").wakes == 1
    assert preview_event("paid", {"n": 1}).wakes == 0


def test_a_source_without_an_event_or_that_no_sender_can_have_is_refused(harness: Harness) -> None:
    with pytest.raises(DeclarationError, match="has a source= but no on_event="):
        harness.task(lambda: None, name="a", source="stripe")
    with pytest.raises(InvalidName, match="the source of events"):
        harness.task(lambda event: None, name="b", on_event="paid", source="a\nb")
    with pytest.raises(InvalidName, match="'a-1'|expected") as failed:
        send_event("paid", source="x" * 201)
    assert "source" in str(failed.value)


@pytest.mark.parametrize(
    ("name", "payload", "what"), [("unpaid", {"n": 1}, "name"), ("paid", {"n": 2}, "payload")]
)
def test_an_id_that_stands_for_another_event_is_a_conflict_and_stores_nothing(
    harness: Harness, name: str, payload: Any, what: str
) -> None:
    first = emit(harness.engine, "paid", {"n": 1, "m": 2}, id="e-1")
    assert emit(harness.engine, "paid", {"m": 2, "n": 1}, id="e-1") == type(first)("e-1", False)
    with pytest.raises(EventConflict, match=f"'e-1' .* this application stands for .*{what}"):
        emit(harness.engine, name, payload, id="e-1")
    assert emit(harness.engine, name, payload, id="e-1", source="api:shop").stored
    assert len(harness.memory._core.tables.events) == 2


def test_a_body_that_sends_again_after_a_crash_meets_its_own_event() -> None:
    sent: list[int] = []

    def body() -> object:
        sent.append(len(sent))
        return str(send_event("paid", sent[-1]))

    with Harness(wrap=FaultStore) as harness:
        harness.trigger(harness.task(body, name="sends"))
        harness.run_until_idle(NOW)
        assert isinstance(harness.engine.store, FaultStore)
        calls = harness.engine.store.calls
    [number] = [number for number, verb in calls if verb == "checkpoints.record"]
    sent.clear()
    with Harness(wrap=lambda inner: FaultStore(inner, {number: Fault.BEFORE})) as harness:
        run_id = harness.trigger(harness.task(body, name="sends"))
        with pytest.raises(SimulatedCrash):
            harness.run_until_idle(NOW)
        assert isinstance(harness.engine.store, FaultStore)
        harness.engine.store.restart()
        harness.advance(timedelta(minutes=2))
        harness.run_until_idle()
        assert harness.run(run_id).state is RunState.COMPLETED
        assert (sent[:2], len(harness.memory._core.tables.events)) == ([0, 1], 1)


def asked(harness: Harness, source: str, **options: Any) -> tuple[UUID, bool]:
    definition = harness.engine.task("job") or harness.task(lambda n: n, name="job")
    request = Request(
        definition=definition, args=(1,), options=TriggerOptions.of(options), source=source
    )
    [started] = start(harness.engine, [request])
    return started.id, started.created


@pytest.mark.parametrize(
    "options",
    [
        {"idempotency_key": "o-1"},
        {"idempotency_key": ["o", "1"]},
        {"debounce": Debounce(key="o-1", delay=60)},
    ],
)
def test_each_source_has_idempotency_and_debounce_keys_of_its_own(
    harness: Harness, options: Any
) -> None:
    first = {source: asked(harness, source, **options) for source in SOURCES}
    assert all(created for _, created in first.values())
    assert len({run_id for run_id, _ in first.values()}) == len(SOURCES)
    for source in SOURCES:
        assert asked(harness, source, **options) == (first[source][0], False)


def test_a_key_is_freed_for_its_source_only(harness: Harness) -> None:
    before = {source: asked(harness, source, idempotency_key="o-1")[0] for source in SOURCES}
    assert idempotency.reset(harness.engine, "job", "o-1", None, "api:shop")
    assert not idempotency.reset(harness.engine, "job", "o-1", None, "api:other")
    created = {source: asked(harness, source, idempotency_key="o-1")[1] for source in SOURCES}
    assert created == {"stripe": False, "api:shop": True, "": False}
    assert len(set(before.values())) == 3
