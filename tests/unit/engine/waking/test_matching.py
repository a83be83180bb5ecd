"""Events meet waits in batches, whether sender or waiter comes first, and whichever dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.client.events import send_event
from trigger_celery.engine.execution import segment_end
from trigger_celery.engine.waking import matching
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.engine.waking.matching import match_event
from trigger_celery.errors import EncodeError
from trigger_celery.limits import EVENT_ELEMENTS
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.values import register
from trigger_celery.values.registry import registry
from trigger_celery.vocabulary.records import Candidate, EventFilter, Lease, NewEvent, StoredEvent
from trigger_celery.vocabulary.states import RunState, WaitState

NOW = timedelta(0)


def waiting(kind: str = "a") -> object:
    return wait_for_event("e", {"kind": kind}).payload["n"]


async def two_branches() -> list[object]:
    events = await asyncio.gather(wait_for_event("e"), wait_for_event("e"))
    return [event.payload for event in events]


def suspended(harness: Harness, count: int = 1, kind: str = "a") -> list[UUID]:
    task = harness.task(waiting)
    runs = [harness.trigger(task, kind) for _ in range(count)]
    harness.run_until_idle(NOW)
    return runs


def stored(harness: Harness, payload: object) -> StoredEvent:
    """Store an event as a sender that dies before it looks at the waits."""
    text = harness.engine.codec.encode(payload)
    event = harness.memory.events.add(NewEvent(id=str(payload), name="e", payload=text))
    assert event is not None
    return event


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_an_event_reaches_all_waits_in_batches(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(matching, "BATCH", 2)
    others = suspended(harness, 3, "b")
    runs = suspended(harness, count)
    event = stored(harness, {"kind": "a", "n": 1})
    assert match_event(harness.engine, event) == count
    assert match_event(harness.engine, event) == 0
    harness.run_until_idle(NOW)
    assert [harness.result(run_id) for run_id in runs] == [1] * count
    assert {harness.run(run_id).state for run_id in others} == {RunState.SUSPENDED}


def waiting_for_number(number: int) -> object:
    return wait_for_event("e", {"n": number}).payload["n"]


def test_a_wait_of_another_shape_made_after_an_event_is_woken_by_the_next(
    harness: Harness,
) -> None:
    suspended(harness)
    harness.send_event("e", {"kind": "a", "n": 1})
    assert list(harness.engine.shapes["e"]) == ['["kind"]']
    late = harness.trigger(harness.task(waiting_for_number), 2)
    harness.run_until_idle(NOW)
    assert harness.run(late).state is RunState.SUSPENDED
    harness.send_event("e", {"kind": "b", "n": 2})
    # No sweep has been here: the sender itself has to find the wait.
    assert harness.run(late).state is RunState.QUEUED
    harness.run_until_idle(NOW)
    assert harness.result(late) == 2


def test_one_event_ends_one_wait_of_a_run_and_the_next_event_the_other(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(two_branches))
    harness.run_until_idle(NOW)
    harness.send_event("e", 1)
    assert sorted(harness.waits(run_id).values()) == [WaitState.EVENT, WaitState.WAITING]
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("e", 2)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [1, 2]


@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_a_wait_looks_at_all_stored_events_in_batches(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(matching, "BATCH", 2)
    run_id = harness.trigger(harness.task(waiting))
    for number in range(before):
        harness.send_event("e", {"kind": "b", "n": number})
    harness.send_event("e", {"kind": "a", "n": 7})
    harness.send_event("e", {"kind": "a", "n": 8})
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == 7


def test_branches_take_stored_events_in_one_look(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(two_branches))
    for number in (1, 2):
        harness.send_event("e", number)
    assert len(harness.run_until_idle(NOW)) == 2
    assert harness.result(run_id) == [1, 2]


def test_branches_take_events_one_each(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(two_branches))
    harness.run_until_idle(NOW)
    harness.send_event("e", 1)
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("e", 2)
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [1, 2]


def test_an_event_that_another_wait_took_meanwhile_does_not_hide_the_next(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = harness.trigger(harness.task(two_branches))
    events = [stored(harness, number) for number in (1, 2)]
    monkeypatch.setattr(segment_end, "look_back", lambda *_: False)
    harness.execute(run_id)
    assert harness.run(run_id).state is RunState.SUSPENDED
    first, second = harness.memory.waits.open(run_id)
    unseen = harness.memory.waits.unseen_events

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        found = unseen(*args, **kwargs)
        monkeypatch.setattr(harness.memory.waits, "unseen_events", unseen)
        harness.memory.waits.resolve(events[0].sequence, [first.wait_id])
        return found

    monkeypatch.setattr(harness.memory.waits, "unseen_events", overtaken)
    matching.first_match(harness.engine, second)
    assert set(harness.waits(run_id).values()) == {WaitState.EVENT}


def test_the_sweep_looks_for_a_worker_that_died_before_it_could() -> None:
    def carry(harness: Harness) -> UUID:
        run_id = harness.trigger(harness.task(waiting))
        harness.send_event("e", {"kind": "a", "n": 1})
        harness.run_until_idle(NOW)
        return run_id

    with Harness(wrap=FaultStore) as harness:
        carry(harness)
        assert isinstance(harness.engine.store, FaultStore)
        number = next(n for n, verb in harness.engine.store.calls if verb == "waits.suspend")
    with Harness(wrap=lambda store: FaultStore(store, {number: Fault.AFTER})) as harness:
        store = harness.engine.store
        assert isinstance(store, FaultStore)
        with pytest.raises(SimulatedCrash):
            carry(harness)
        store.restart()
        [run_id] = harness.memory.open_runs()
        assert harness.run(run_id).state is RunState.SUSPENDED
        harness.sweep()
        assert harness.run(run_id).state is RunState.SUSPENDED
        harness.advance(timedelta(seconds=5))
        harness.sweep()
        assert harness.run(run_id).state is RunState.QUEUED
        harness.run_until_idle(NOW)
        assert harness.result(run_id) == 1


def test_the_sweep_matches_for_a_sender_that_died_before_it_could(harness: Harness) -> None:
    [run_id] = suspended(harness)
    stored(harness, {"kind": "a", "n": 1})
    harness.sweep()
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.advance(harness.config.nudge_interval)
    assert harness.sweep() == 1
    assert harness.run(run_id).state is RunState.QUEUED
    assert harness.sweep() == 0


def test_one_bad_event_does_not_hold_up_the_others(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    [run_id] = suspended(harness)
    harness.memory.events.add(NewEvent(id="bad", name="e", payload="no JSON"))
    stored(harness, {"kind": "a", "n": 1})
    harness.advance(harness.config.nudge_interval)
    with caplog.at_level(logging.ERROR):
        harness.sweep()
    assert "event bad (e) could not be matched" in caplog.text
    assert harness.run(run_id).state is RunState.QUEUED


def test_events_that_cannot_be_matched_hold_up_no_other_and_are_said_once(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    [run_id] = suspended(harness)
    for number in range(harness.config.sweep_batch + 1):
        harness.memory.events.add(NewEvent(id=f"bad {number}", name="e", payload="no JSON"))
    stored(harness, {"kind": "a", "n": 1})
    harness.advance(harness.config.nudge_interval)
    with caplog.at_level(logging.ERROR):
        harness.sweep()
        assert harness.run(run_id).state is RunState.SUSPENDED
        harness.sweep()
        assert harness.run(run_id).state is RunState.QUEUED
        for _ in range(3):
            harness.sweep()
    assert caplog.text.count("could not be matched") == harness.config.sweep_batch + 1


def waiting_for_an_element() -> object:
    return wait_for_event("e", {"items": {"id": 4_321}}).id


def test_of_a_long_list_only_the_hashes_that_waits_have_are_looked_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = harness.trigger(harness.task(waiting_for_an_element))
    harness.run_until_idle(NOW)
    asked: list[int] = []
    candidates = harness.memory.waits.candidates

    def counted(name: str, hashes: Sequence[int], **options: Any) -> Sequence[Candidate]:
        asked.append(len(hashes))
        return candidates(name, hashes, **options)

    monkeypatch.setattr(harness.memory.waits, "candidates", counted)
    send_event("e", {"items": [{"id": number} for number in range(5_000)]})
    assert harness.run(run_id).state is RunState.QUEUED
    assert sum(asked) <= 2


def test_an_event_with_too_many_values_is_refused_before_it_is_stored(harness: Harness) -> None:
    send_event("e", [1] * (EVENT_ELEMENTS - 1))
    with pytest.raises(EncodeError, match="more than 50,000 values"):
        send_event("e", [1] * EVENT_ELEMENTS)
    assert len(harness.memory.events.find(EventFilter(), limit=9)) == 1


def test_one_bad_look_back_does_not_hold_up_the_sweep(
    harness: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(segment_end, "look_back", lambda *_: False)
    monkeypatch.setattr(matching, "matches", fail)
    bad = harness.trigger(harness.task(waiting))
    harness.execute(bad)
    harness.memory.events.add(NewEvent(id="bad", name="e", payload="{}"))
    asleep = harness.trigger(harness.task(lambda: sleep(5), name="asleep"))
    harness.execute(asleep)
    harness.advance(timedelta(seconds=5))
    with caplog.at_level(logging.ERROR):
        harness.sweep()
    assert f"run {bad}: the look-back at stored events failed" in caplog.text
    assert harness.run(asleep).state is RunState.QUEUED


def test_a_look_back_without_an_event_lets_the_wait_time_out(harness: Harness) -> None:
    run_id = harness.trigger(
        harness.task(lambda: wait_for_event("e", timeout=60, default=0), name="task")
    )
    harness.run_until_idle(NOW)
    assert harness.stored(run_id).due_at == harness.clock.now + timedelta(seconds=60)
    assert not look_back(harness.engine, Lease(run_id, 1, ""))


def test_a_wait_without_a_filter_takes_any_payload(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda: wait_for_event("e").payload, name="task"))
    harness.run_until_idle(NOW)
    harness.send_event("other", 1)
    assert harness.run(run_id).state is RunState.SUSPENDED
    harness.send_event("e", [1, 2])
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [1, 2]


def test_a_run_whose_wait_ended_while_it_executed_is_nudged_at_once(harness: Harness) -> None:
    async def body() -> list[object]:
        events = asyncio.gather(wait_for_event("e"), wait_for_event("e"), note())
        return [event.payload for event in (await events)[:2]]

    @step
    async def note() -> None:
        if harness.stored(run_id).fence == 2:
            harness.send_event("e", 2)

    run_id = harness.trigger(harness.task(body, checkpoint="explicit"))
    harness.execute(run_id)
    harness.memory.checkpoints._core.tables.checkpoints.clear()  # so that note() runs again
    harness.send_event("e", 1)
    harness.dispatcher.nudges.clear()
    left = harness.execute(run_id)
    assert left.state is RunState.QUEUED
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [run_id]
    harness.run_until_idle(NOW)
    assert harness.result(run_id) == [1, 2]


@dataclass
class Order:
    """Known to the sender of an event, and not to the worker that compares it."""

    number: int


def test_an_event_that_cannot_be_read_here_holds_up_neither_others_nor_the_timeout(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> list[object]:
        sleep(5)
        first = wait_for_event("e", {"n": 1}, timeout=60)
        return [first.payload, wait_for_event("e", {"n": 2}, timeout=60, default="late")]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    register(Order)
    for payload in ({"n": 1, "order": Order(4711)}, {"n": 1}, {"n": 2, "order": Order(4711)}):
        harness.send_event("e", payload)
    registry.by_class.pop(Order)
    registry.by_name.pop(Order.__qualname__)
    harness.run_until_idle()
    assert harness.result(run_id) == [{"n": 1}, "late"]
    assert "cannot be read by this process" in caplog.text
    assert "4711" not in caplog.text
