"""Idempotency and debounce keys: one run for many calls, for as long as that is right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    Debounce,
    IdempotencyConflict,
    RetryPolicy,
    TriggerOptions,
    current_run,
    reset_idempotency_key,
    sleep,
    step,
)
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.runs.trigger import Request, Started, start, trigger
from trigger_celery.errors import InvalidOption
from trigger_celery.testing import Harness

ONCE = RetryPolicy(max_attempts=1)
KEY = TriggerOptions(idempotency_key="order-1")
DAY = timedelta(days=1)


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(a: int) -> None:
    raise ValueError("no")


def started(harness: Harness, task: TaskDefinition, *args: Any, **options: Any) -> Started:
    request = Request(definition=task, args=args, options=TriggerOptions(**options))
    return start(harness.engine, [request])[0]


def test_a_second_call_gets_the_run_of_the_first(harness: Harness) -> None:
    task = harness.task(add)
    first = started(harness, task, 1, idempotency_key="k")
    second = started(harness, task, 1, idempotency_key="k")
    assert (first.created, second.created) == (True, False)
    assert first.id == second.id
    assert len(harness.dispatcher.nudges) == 1
    assert started(harness, task, 1, idempotency_key="other").created


def test_another_input_under_the_same_key_is_a_conflict(harness: Harness) -> None:
    task = harness.task(add)
    run_id = trigger(harness.engine, task, (1,), options=KEY)
    before = harness.memory.dump()
    with pytest.raises(IdempotencyConflict, match=f"'order-1' of task 'add' .* {run_id}"):
        trigger(harness.engine, task, (2,), options=KEY)
    assert harness.memory.dump() == before
    assert trigger(harness.engine, task, (1,), options=KEY) == run_id


def test_the_order_of_names_makes_no_other_input(harness: Harness) -> None:
    task = harness.task(add)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": [{"p": 1, "q": 2}]}}, {"a": {"y": [{"q": 2, "p": 1}], "x": 1}}),
    ]
    for number, (one, other) in enumerate(pairs):
        options = TriggerOptions(idempotency_key=str(number))
        first = trigger(harness.engine, task, kwargs=one, options=options)
        assert trigger(harness.engine, task, kwargs=other, options=options) == first
        with pytest.raises(IdempotencyConflict):
            trigger(harness.engine, task, kwargs={"a": 1, "b": 3}, options=options)


def test_parts_of_a_key_are_not_glued_together(harness: Harness) -> None:
    task = harness.task(add)
    keys = ["a", ["a"], ["a", "b"], ["ab"], ["a", "b", "c"], '["a", "b"]']
    ids = [trigger(harness.engine, task, (1,), options=TriggerOptions(idempotency_key=key))
           for key in keys]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(set(ids)) == len(keys) - 1


def test_success_and_cancel_keep_the_key_and_failure_frees_it(harness: Harness) -> None:
    task, failing = harness.task(add), harness.task(fail, retry=ONCE)
    done = trigger(harness.engine, task, (1,), options=KEY)
    failed = trigger(harness.engine, failing, (1,), options=KEY)
    harness.run_until_idle()
    assert trigger(harness.engine, task, (1,), options=KEY) == done
    again = trigger(harness.engine, failing, (7,), options=KEY)
    assert again != failed
    harness.cancel(again)
    assert trigger(harness.engine, failing, (7,), options=KEY) == again


def test_an_expired_and_a_timed_out_run_free_the_key(harness: Harness) -> None:
    task = harness.task(lambda: sleep(DAY), name="sleeper")
    expired = started(harness, task, idempotency_key="k", ttl=60)
    harness.advance(timedelta(minutes=2))
    harness.sweep()
    slow = started(harness, task, idempotency_key="k", max_duration=60)
    assert slow.id != expired.id
    harness.run_until_idle()
    assert harness.run(slow.id).state == "timed_out"
    assert started(harness, task, idempotency_key="k").created


def test_a_key_is_held_for_thirty_days_or_its_own_time(harness: Harness) -> None:
    task = harness.task(add)
    long = started(harness, task, 1, idempotency_key="long")
    short = started(harness, task, 1, idempotency_key="short", idempotency_ttl=DAY)
    harness.run_until_idle()
    harness.advance(DAY)
    assert started(harness, task, 1, idempotency_key="short").id != short.id
    harness.advance(28 * DAY)
    assert started(harness, task, 1, idempotency_key="long").id == long.id
    harness.advance(DAY)
    assert started(harness, task, 1, idempotency_key="long").id != long.id


def test_a_key_that_is_reset_starts_a_run(harness: Harness) -> None:
    task = harness.task(add)
    first = started(harness, task, 1, idempotency_key=["a", "b"])
    assert reset_idempotency_key("add", ["a", "b"])
    assert not reset_idempotency_key("add", ["a", "b"])
    assert started(harness, task, 1, idempotency_key=["a", "b"]).id != first.id
    with pytest.raises(InvalidOption, match="2,048"):
        reset_idempotency_key("add", "k" * 2049)


def test_many_threads_at_once_start_one_run(harness: Harness) -> None:
    task, barrier = harness.task(add), Barrier(8)

    def call(number: int) -> UUID:
        barrier.wait()
        with harness.memory.transaction():
            return trigger(harness.engine, task, (1,), options=KEY)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(call, range(8)))) == 1
    assert len(harness.dispatcher.nudges) == 1


def test_a_scope_says_where_a_key_counts(harness: Harness) -> None:
    child = harness.task(add)
    seen: dict[str, set[UUID]] = {"run": set(), "attempt": set(), "global": set()}

    @step(key=lambda name: name)
    def begin(name: str) -> None:
        for scope, ids in seen.items():
            options = TriggerOptions.of({"idempotency_key": "k", "idempotency_scope": scope})
            ids.add(trigger(harness.engine, child, (1,), options=options))

    def parent() -> None:
        begin(f"first-{current_run().attempt}")
        begin(f"second-{current_run().attempt}")
        if current_run().attempt == 1:
            raise OSError

    task = harness.task(parent, retry=RetryPolicy(max_attempts=2, min_delay=0))
    harness.trigger(task)
    harness.trigger(task)
    harness.run_until_idle()
    assert {scope: len(ids) for scope, ids in seen.items()} == {
        "run": 2,
        "attempt": 4,
        "global": 1,
    }


def test_inside_a_run_a_key_counts_in_that_run(harness: Harness) -> None:
    child, ids = harness.task(add), []

    @step
    def begin() -> None:
        ids.append(trigger(harness.engine, child, (1,), options=KEY))

    task = harness.task(lambda: [begin(), begin()], name="parent")
    harness.trigger(task)
    harness.trigger(task)
    harness.run_until_idle()
    assert len(ids) == 4
    assert len(set(ids)) == 2


def debounced(mode: Any = "leading", **more: Any) -> TriggerOptions:
    return TriggerOptions(debounce=Debounce(key="k", delay=60, mode=mode, **more))


@pytest.mark.parametrize(("mode", "result"), [("leading", 1), ("trailing", 3)])
def test_calls_with_a_debounce_key_push_one_run_back(
    harness: Harness, mode: str, result: int
) -> None:
    task = harness.task(add)
    ids = set()
    for number in (1, 2, 3):
        ids.add(trigger(harness.engine, task, (number,), options=debounced(mode)))
        harness.advance(timedelta(seconds=40))
        harness.run_until_idle(max_virtual_time=timedelta(0))
    (run_id,) = ids
    assert harness.run(run_id).state == "queued"
    harness.run_until_idle()
    assert harness.result(run_id) == result


def test_a_call_after_the_debounced_run_began_starts_a_new_one(harness: Harness) -> None:
    task = harness.task(lambda n: sleep(DAY), name="sleeper")
    first = trigger(harness.engine, task, (1,), options=debounced())
    harness.run_until_idle(max_virtual_time=timedelta(minutes=2))
    assert harness.run(first).state == "suspended"
    second = trigger(harness.engine, task, (2,), options=debounced())
    assert second != first
    assert trigger(harness.engine, task, (3,), options=debounced()) == second


def test_a_run_is_not_pushed_back_over_its_max_delay(harness: Harness) -> None:
    task = harness.task(add)
    options = debounced(max_delay=100)
    first = trigger(harness.engine, task, (1,), options=options)
    harness.advance(timedelta(seconds=39))
    assert trigger(harness.engine, task, (2,), options=options) == first
    harness.advance(timedelta(seconds=2))
    second = trigger(harness.engine, task, (3,), options=options)
    assert second != first
    harness.run_until_idle()
    assert [harness.result(run_id) for run_id in (first, second)] == [1, 3]


def test_a_batch_with_equal_keys_gets_one_run(harness: Harness) -> None:
    task = harness.task(add)
    same = [Request(definition=task, args=(1,), options=KEY)] * 3
    batch = start(harness.engine, same)
    assert [each.created for each in batch] == [True, False, False]
    assert len({each.id for each in batch}) == 1
    last = [
        Request(definition=task, args=(number,), options=debounced("trailing"))
        for number in range(3)
    ]
    (run_id,) = {each.id for each in start(harness.engine, last)}
    assert harness.stored(run_id).spec.input == "[[2],{}]"


def test_calls_of_a_batch_that_come_too_late_share_one_new_run(harness: Harness) -> None:
    task = harness.task(add)
    options = debounced("trailing", max_delay=100)
    first = trigger(harness.engine, task, (1,), options=options)
    harness.advance(timedelta(seconds=50))
    late = [Request(definition=task, args=(number,), options=options) for number in (2, 3, 4)]
    batch = start(harness.engine, late)
    assert [each.created for each in batch] == [True, False, False]
    (second,) = {each.id for each in batch}
    assert second != first
    harness.run_until_idle()
    assert [harness.result(run_id) for run_id in (first, second)] == [1, 4]


def renamed(harness: Harness, *aliases: str) -> TaskDefinition:
    """Return the task ``add`` as a later release declares it: under a new name."""
    harness.engine.tasks.remove("add")
    return harness.task(add, name="plus", aliases=aliases)


def test_a_key_used_under_an_earlier_name_of_the_task_stands_for_its_run(harness: Harness) -> None:
    old = harness.task(add)
    first = started(harness, old, 1, idempotency_key="k")
    new = renamed(harness, "sum", "add")
    assert started(harness, new, 1, idempotency_key="k") == Started(id=first.id, created=False)
    with pytest.raises(IdempotencyConflict, match=f"of task 'plus' stands for run {first.id}"):
        started(harness, new, 2, idempotency_key="k")
    assert started(harness, new, 2, idempotency_key="other").created


def test_a_release_before_the_renaming_finds_the_keys_of_the_new_one(harness: Harness) -> None:
    old = harness.task(add)
    new = renamed(harness, "sum", "add")
    first = started(harness, new, 1, idempotency_key="k")
    assert started(harness, old, 1, idempotency_key="k") == Started(id=first.id, created=False)
    for alias in ("add", "sum"):  # a message that was sent under an earlier name
        definition = harness.engine.task(alias)
        assert definition is not None
        assert started(harness, definition, 1, idempotency_key="k").id == first.id


def test_a_key_of_an_earlier_name_is_held_no_longer_than_it_was(harness: Harness) -> None:
    old = harness.task(add)
    first = started(harness, old, 1, idempotency_key="k", idempotency_ttl=2 * DAY)
    new = renamed(harness, "add")
    harness.run_until_idle()
    harness.advance(DAY)
    asked = UUID(int=7)
    request = Request(definition=new, args=(1,), options=KEY, id=asked)
    for key in ("k", "j"):  # the id is given to another run in the end
        options = TriggerOptions(idempotency_key=key)
        its = start(harness.engine, [replace(request, options=options)])[0]
        assert its.created is (key == "j")
    assert started(harness, new, 1, idempotency_key="k").id == first.id
    harness.advance(DAY)
    later = started(harness, new, 1, idempotency_key="k")
    assert later.id not in (first.id, asked)


def test_a_key_is_reset_under_all_names_of_its_task(harness: Harness) -> None:
    old = harness.task(add)
    new = renamed(harness, "add")
    ids = set()
    for name in ("plus", "add"):
        ids.add(started(harness, old, 1, idempotency_key="k").id)
        assert reset_idempotency_key(name, "k")
        assert not reset_idempotency_key(name, "k")
        ids.add(started(harness, new, 1, idempotency_key="k").id)
        assert reset_idempotency_key(name, "k")
    assert len(ids) == 4


def test_a_debounce_key_of_an_earlier_name_pushes_its_run_back(harness: Harness) -> None:
    first = trigger(harness.engine, harness.task(add), (1,), options=debounced("trailing"))
    new = renamed(harness, "add")
    assert trigger(harness.engine, new, (2,), options=debounced("trailing")) == first
    assert harness.stored(first).spec.input == "[[2],{}]"
    harness.advance(timedelta(seconds=41))
    late = debounced("trailing", max_delay=100)
    second = trigger(harness.engine, new, (3,), options=late)
    assert second != first
    assert trigger(harness.engine, new, (4,), options=debounced("trailing")) == second
