"""Runs that start runs and wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from support.families import STILL, Family, double, gives_up
from trigger_celery import current_run, sleep, step
from trigger_celery.config import Config
from trigger_celery.declare.options import Debounce
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.errors import (
    ChildRunFailed,
    InvalidTime,
    NestedStep,
    NotInRun,
    RunFailed,
    WaitCycle,
)
from trigger_celery.vocabulary.records import Candidate
from trigger_celery.vocabulary.states import RunState, WaitState


def test_the_parent_of_a_child_that_expired_gets_that_as_its_failure(family: Family) -> None:
    child = family.task(double, concurrency_limit=1)
    start = family.starts(child, options={"ttl": 60})

    def parent() -> Any:
        try:
            return start(1)
        except ChildRunFailed as error:
            return [error.kind, error.run_id]

    family.sweep()
    family.engine.store.queues.pause("task/double")
    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    expired = child_id(run_id, "double", 0)
    assert family.run(expired).state is RunState.QUEUED
    family.advance(timedelta(seconds=61))
    family.run_until_idle(STILL)
    assert family.run(expired).state is RunState.EXPIRED
    assert family.result(run_id) == ["RunExpired", expired]
    assert family.stored(expired).published_at is not None


def test_a_run_gets_what_its_child_returned(family: Family) -> None:
    start = family.starts(family.task(double))

    def parent(number: int) -> Any:
        return [start(number), start(number + 1)]

    run_id = family.trigger(family.task(parent), 4)
    family.run_until_idle()
    assert family.result(run_id) == [8, 10]
    assert family.waits(run_id) == {
        "double": WaitState.COMPLETED,
        "double#2": WaitState.COMPLETED,
    }
    assert family.wakes(run_id) == 2


def test_an_async_body_awaits_its_child(family: Family) -> None:
    start = family.starts(family.task(double))

    async def parent(number: int) -> Any:
        first = await start(number)
        return first + (await start(first))

    run_id = family.trigger(family.task(parent), 4)
    family.run_until_idle()
    assert family.result(run_id) == 24
    assert list(family.steps(run_id)) == ["~results/0/double", "~results/0/double#2"]


def test_results_come_in_the_order_of_the_items(family: Family) -> None:
    def slow(number: int) -> int:
        sleep(10 - number)
        return number

    start = family.starts_all(family.task(slow))

    def parent() -> Any:
        return start(range(8))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == list(range(8))
    assert family.wakes(run_id) == 1


def test_branches_wait_for_children_of_their_own(family: Family) -> None:
    start, start_all = (of(family.task(double)) for of in (family.starts, family.starts_all))

    async def parent() -> Any:
        return list(await asyncio.gather(start(1), start_all([2, 3]), start(4)))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == [2, [4, 6], 8]


def test_no_items_are_no_runs(family: Family) -> None:
    start = family.starts_all(family.task(double))

    def parent() -> Any:
        return start([])

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == []
    assert family.stored(run_id).fence == 1


def test_a_failed_child_fails_its_parent_without_another_attempt(family: Family) -> None:
    start = family.starts(gives_up(family))

    def parent() -> Any:
        return start(-1)

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    with pytest.raises(RunFailed) as caught:
        family.result(run_id)
    assert caught.value.kind == "ChildRunFailed"
    child = child_id(run_id, "double", 0)
    assert str(child) in caught.value.message
    assert "ValueError: -1 is negative" in caught.value.message
    assert family.run(run_id).attempt == 1


def test_a_body_may_catch_the_failure_of_its_child(family: Family) -> None:
    start = family.starts(gives_up(family))

    def parent() -> Any:
        try:
            start(-1)
        except ChildRunFailed as error:
            return [str(error.run_id), error.kind, error.message]
        return []

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    child = child_id(run_id, "double", 0)
    assert family.result(run_id) == [str(child), "ValueError", "-1 is negative"]


def test_of_several_failures_the_first_by_order_is_raised(family: Family) -> None:
    start = family.starts_all(gives_up(family))

    def parent() -> Any:
        try:
            start([1, -2, -3])
        except ChildRunFailed as error:
            return error.message
        return ""

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == "-2 is negative"


def test_failures_are_returned_in_their_places_if_asked_for(family: Family) -> None:
    start = family.starts_all(gives_up(family), return_exceptions=True)

    def parent() -> Any:
        return [
            [str(each.run_id), each.kind] if isinstance(each, ChildRunFailed) else each
            for each in start([1, -2, 3])
        ]

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    child = child_id(run_id, "double", 1)
    assert family.result(run_id) == [2, [str(child), "ValueError"], 6]


def test_children_may_have_children(family: Family) -> None:
    start_double = family.starts_all(family.task(double))

    def sum_of(numbers: list[int]) -> int:
        return sum(start_double(numbers))

    start_sum = family.starts_all(family.task(sum_of))

    def parent() -> Any:
        return sum(start_sum([[1, 2], [3], []]))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == 12
    assert family.wakes(run_id) == 1


def test_a_child_knows_its_parent_and_the_parents_history_lists_its_children(
    family: Family,
) -> None:
    def child() -> str:
        return str(current_run().parent_id)

    start = family.starts(family.task(child))

    def parent() -> Any:
        return start()

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == str(run_id)
    started = child_id(run_id, "child", 0)
    assert family.run(started).parent_id == run_id
    recorded = [e.data for e in family.memory.runs.history(run_id) if e.verb == "start children"]
    assert recorded == [f'{{"key": "child", "count": 1, "first": ["{started}"]}}']


def test_a_large_fan_out_is_started_in_batches_and_its_parent_woken_once(family: Family) -> None:
    start = family.starts_all(family.task(double))

    def parent() -> Any:
        return sum(start(range(1_100)))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == 1_100 * 1_099
    verbs = [entry.verb for entry in family.memory.runs.history(run_id)]
    assert (verbs.count("start children"), verbs.count("wake")) == (3, 1)


def test_results_are_recorded_in_chunks_below_the_limit() -> None:
    with Family(config=Config(payload_limit=1_000)) as family:

        def text(size: int) -> str:
            return "x" * size

        start = family.starts_all(family.task(text))
        sizes = [400, 500, 900, 10, 20]

        def parent() -> Any:
            found = [len(each) for each in start(sizes)]
            sleep(1)
            return [*found, *(len(each) for each in start(sizes[:1]))]

        run_id = family.trigger(family.task(parent))
        family.run_until_idle()
        assert family.result(run_id) == [*sizes, 400]
        outcomes = family.memory.checkpoints.load(run_id, run_attempt=1).recorded.values()
        chunks = [len(each.value) for each in outcomes if each.value is not None]
        assert len(chunks) == 3
        assert max(chunks) <= 1_000


def test_the_end_of_a_child_reads_one_wait_of_a_parent_with_many(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = family.starts(family.task(double))
    read: list[int] = []
    opened = family.memory.waits.open

    def counted(run_id: UUID, *, key: str | None = None) -> Sequence[Candidate]:
        found = opened(run_id, key=key)
        read.append(len(found))
        return found

    async def parent() -> Any:
        return list(await asyncio.gather(*(start(number) for number in range(20))))

    run_id = family.trigger(family.task(parent))
    family.execute(run_id)
    assert list(family.waits(run_id).values()) == [WaitState.WAITING] * 20
    monkeypatch.setattr(family.memory.waits, "open", counted)
    for index in range(20):
        key = "double" if index == 0 else f"double#{index + 1}"
        family.execute(child_id(run_id, key, 0))
    assert read == [1] * 20
    family.run_until_idle()
    assert family.result(run_id) == [2 * number for number in range(20)]


def test_a_call_outside_of_a_run_cannot_wait(family: Family) -> None:
    start = family.starts(family.task(double))
    with pytest.raises(NotInRun, match="trigger_and_wait"):
        start(1)


def test_a_step_cannot_wait_for_runs(family: Family) -> None:
    start_all = family.starts_all(family.task(double))

    def parent() -> Any:
        return step.run("inside", start_all, [1])

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    with pytest.raises(RunFailed) as caught:
        family.result(run_id)
    assert caught.value.kind == NestedStep.__name__


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"options": {"idempotency_key": "k"}}, WaitCycle),
        ({"options": {"debounce": Debounce(key="k", delay=1)}}, WaitCycle),
        ({"timeout": -1}, InvalidTime),
    ],
    ids=["idempotency key", "debounce", "negative timeout"],
)
def test_bad_options_are_refused_before_anything_is_started(
    family: Family, wanted: dict[str, Any], error: type[Exception]
) -> None:
    start = family.starts(family.task(double), **wanted)

    def parent() -> Any:
        try:
            start(1)
        except error as mistake:
            return type(mistake).__name__
        return ""

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == error.__name__
    assert family.memory.children.ends([child_id(run_id, "double", 0)]) == {}


def test_arguments_that_one_child_does_not_take_start_none(family: Family) -> None:
    start = family.starts_all(family.task(double))

    def parent() -> Any:
        try:
            start([1, object()])
        except Exception as mistake:
            return type(mistake).__name__
        return ""

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == "EncodeError"
    assert family.memory.children.ends([child_id(run_id, "double", 0)]) == {}
