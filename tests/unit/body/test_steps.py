"""Steps of plain def tasks: recorded once, returned again on every replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from support.charging import LOG
from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep
from trigger_celery.errors import DeclarationError, InvalidName
from trigger_celery.testing import Fault, FaultStore, Harness
from trigger_celery.vocabulary.states import RunState


@step
def note(value: object) -> object:
    LOG.append(value)
    return value


@step(key="the one")
def once(value: int) -> int:
    return value


@step(key=lambda order, *, shop: f"pay {order} at {shop}")
def pay(order: int, *, shop: str) -> int:
    return order


def failure_of(harness: Harness, body: Any, *args: object, **options: Any) -> str:
    run_id = harness.trigger(harness.task(body, **options), *args)
    harness.run_until_idle()
    run = harness.stored(run_id)
    assert run.state is RunState.FAILED
    return run.error or ""


def test_a_linear_task_runs_each_step_once(harness: Harness) -> None:
    def body() -> object:
        first = note(1)
        sleep(5)
        second = note(2)
        sleep(5)
        return [first, second, note(3)]

    run_id = harness.trigger(harness.task(body))
    assert len(harness.run_until_idle()) == 3
    assert harness.result(run_id) == [1, 2, 3]
    assert LOG == [1, 2, 3]


def test_calls_of_one_step_are_numbered(harness: Harness) -> None:
    def body() -> None:
        for number in range(3):
            note(number)
            sleep(1)

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"note": 0, "note#2": 1, "note#3": 2}
    assert list(harness.waits(run_id)) == ["sleep", "sleep#2", "sleep#3"]
    assert LOG == [0, 1, 2]


def test_a_step_outside_of_a_run_is_a_plain_function() -> None:
    marker = object()
    assert note(marker) is marker
    assert [marker] == LOG


def test_a_first_return_is_the_stored_value_decoded(harness: Harness) -> None:
    kept: list[dict[str, list[int]]] = []

    @step
    def build() -> dict[str, list[int]]:
        value = {"items": [1]}
        kept.append(value)
        return value

    def body() -> list[object]:
        value = build()
        same = value is kept[0]
        value["items"].append(2)
        sleep(1)
        return [same, value["items"]]

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert kept == [{"items": [1]}]
    assert harness.result(run_id) == [False, [1, 2]]
    assert harness.steps(run_id) == {"build": {"items": [1]}}


def test_types_survive_the_store(harness: Harness) -> None:
    def body() -> object:
        value = note({"a": (1, {2}), "x": b"\0"})
        sleep(1)
        return value

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == {"a": (1, {2}), "x": b"\0"}


def test_a_key_of_text_may_be_used_once(harness: Harness) -> None:
    def body() -> None:
        once(1)
        once(2)

    error = failure_of(harness, body)
    assert "DuplicateStepKey" in error
    assert "'the one'" in error
    assert len(harness.dispatcher.nudges) == 1  # no further attempts


def test_a_key_may_come_from_the_arguments(harness: Harness) -> None:
    def body() -> None:
        pay(1, shop="a")
        pay(2, shop="a")

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"pay 1 at a": 1, "pay 2 at a": 2}


def test_a_key_that_is_no_text_is_an_error(harness: Harness) -> None:
    @step(key=lambda: cast(str, 7))
    def odd() -> None: ...

    assert "InvalidName" in failure_of(harness, lambda: odd(), name="odd key")


def test_a_key_that_a_database_cannot_keep_is_an_error(harness: Harness) -> None:
    @step(key="a\0b")
    def odd() -> None: ...

    assert "InvalidName" in failure_of(harness, lambda: odd(), name="odd key")


def test_a_step_inside_a_step_is_an_error(harness: Harness) -> None:
    @step
    def outer() -> object:
        return note(1)

    error = failure_of(harness, lambda: outer(), name="nested")
    assert "NestedStep" in error
    assert "note.plain(...)" in error
    assert LOG == []


def test_a_wait_inside_a_step_is_an_error(harness: Harness) -> None:
    @step
    def outer() -> None:
        sleep(1)

    assert "sleep() was called inside step 'outer'" in failure_of(
        harness, lambda: outer(), name="nested"
    )


def test_the_plain_function_is_a_part_of_the_outer_step(harness: Harness) -> None:
    @step
    def outer() -> object:
        return cast(Any, note).plain(5)

    run_id = harness.trigger(harness.task(lambda: outer(), name="plain"))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"outer": 5}


def test_run_makes_a_step_of_any_function(harness: Harness) -> None:
    def body() -> object:
        return step.run("sort", sorted, [3, 1], reverse=True)

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"sort": [3, 1]}


def test_an_async_step_of_a_def_task_says_what_to_do(harness: Harness) -> None:
    async def fetch() -> None: ...

    fetching = step(fetch)
    error = failure_of(harness, lambda: fetching(), name="sync")
    assert "step 'fetch' is async but was called by a plain def task" in error


def test_an_atomic_step_records_with_its_writes(harness: Harness) -> None:
    @step(atomic=True)
    def write() -> int:
        LOG.append("write")
        with pytest.raises(Exception, match="transaction"):
            harness.engine.store.check_boundary("probe")
        return 1

    run_id = harness.trigger(harness.task(lambda: write(), name="atomic"))
    harness.run_until_idle()
    assert harness.steps(run_id) == {"write": 1}
    assert LOG == ["write"]


@step(atomic=True)
def write() -> int:
    LOG.append("write")
    return len(LOG)


def atomic_task() -> int:
    return write()


def commit_number() -> int:
    stores: list[FaultStore] = []

    def wrap(store: Any) -> FaultStore:
        stores.append(FaultStore(store))
        return stores[0]

    with Harness(wrap=wrap) as harness:
        harness.trigger(harness.task(atomic_task))
        harness.run_until_idle()
    LOG.clear()
    return next(number for number, verb in stores[0].calls if verb == "commit")


@pytest.mark.parametrize(
    ("fault", "effects"), [(Fault.LOST_ACK, ["write"]), (Fault.REFUSED, ["write", "write"])]
)
def test_a_lost_commit_of_an_atomic_step_is_resolved_by_its_checkpoint(
    fault: Fault, effects: list[str]
) -> None:
    plan = {commit_number(): fault}
    with Harness(wrap=lambda store: FaultStore(store, plan)) as harness:
        run_id = harness.trigger(harness.task(atomic_task))
        harness.run_until_idle()
        assert harness.result(run_id) == len(effects)
    assert effects == LOG  # a refused commit rolled the first one's writes back


@dataclass
class Odd:
    value: int


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: step(cast(Any, 5)), "expected @step to decorate a function"),
        (lambda: step(name="")(note), "1 to 200 characters"),
        (lambda: step(name="x" * 201)(note), "1 to 200 characters"),
        (lambda: step(retry=cast(Any, 3))(note), "to be a RetryPolicy"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Any, message: str) -> None:
    with pytest.raises((DeclarationError, InvalidName), match=message):
        declare()


def test_generators_and_async_transactions_are_refused() -> None:
    async def coroutine() -> None: ...

    def generator() -> Any:
        yield 1

    with pytest.raises(DeclarationError, match="a generator"):
        step(generator)
    with pytest.raises(DeclarationError, match="atomic and async"):
        step(atomic=True)(coroutine)


def test_a_step_that_raises_stop_iteration_fails(harness: Harness) -> None:
    @step
    def empty() -> object:
        return next(iter([]))

    error = failure_of(harness, lambda: empty(), name="stop", retry=RetryPolicy(max_attempts=1))
    assert "StopIteration" in error
