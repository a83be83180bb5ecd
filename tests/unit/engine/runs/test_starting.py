"""Starting runs: by the task, by its name, in batches, and from the body of another run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    ConfiguredTask,
    Debounce,
    DurableTask,
    RunHandle,
    TriggerOptions,
    WaitTimeout,
    durable_task,
    reset_idempotency_key,
    sleep,
    step,
    trigger,
)
from trigger_celery.celery import canvas
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.errors import (
    DeclarationError,
    EncodeError,
    InvalidOption,
    InvalidTime,
    RunExpired,
    RunFailed,
    RunTimedOut,
    TransactionOpen,
    UnknownOption,
    UnknownTask,
    UsageError,
)
from trigger_celery.testing import Harness

DAY = timedelta(days=1)


def declared(harness: Harness, **options: Any) -> DurableTask[[int], int]:
    """Return a small task that this process and the harness know."""

    @durable_task(name="double", **options)  # type: ignore[untyped-decorator]
    def double(value: int) -> int:
        return 2 * value

    harness.engine.tasks.add(double.durable)
    harness.engine.canvas_of = canvas.of_task
    task: DurableTask[[int], int] = double
    return task


def test_a_trigger_returns_a_handle_of_its_run(harness: Harness) -> None:
    double = declared(harness)
    handle = double.trigger(21)
    assert (handle.task, handle.created, handle.state()) == ("double", True, "queued")
    harness.run_until_idle()
    assert (handle.result(), handle.state()) == (42, "completed")
    assert not handle.cancel()


def test_options_are_those_of_the_run(harness: Harness) -> None:
    double = declared(harness)
    configured = double.options(tags=["a"], priority=1).options(tags=["b"], priority=7)
    run = harness.stored(configured.trigger(1).id)
    assert (run.spec.tags, run.spec.priority) == (("a", "b"), 7)
    assert not harness.stored(double.trigger(1).id).spec.tags
    with pytest.raises(UnknownOption, match="'tag'.*'tags'"):
        double.options(tag="a")  # type: ignore[call-arg]  # that is the mistake


def test_a_priority_goes_with_the_messages_of_the_run(harness: Harness) -> None:
    double = declared(harness)
    runs = [harness.stored(double.options(priority=p).trigger(1).id) for p in (-5, 7, 1000)]
    assert [canvas.load(run.spec.canvas)["priority"] for run in runs] == [0, 7, 255]
    assert [run.spec.priority for run in runs] == [-5, 7, 1000]
    assert harness.stored(double.trigger(1).id).spec.canvas == ""
    # AMQP cannot even encode a higher one: no message of the run would ever be sent.
    run = harness.stored(UUID(double.apply_async((1,), priority=1000).id))
    assert (run.spec.priority, canvas.load(run.spec.canvas)["priority"]) == (1000, 255)


def test_a_task_is_started_by_its_name(harness: Harness) -> None:
    declared(harness)
    handle = trigger("double", 4, options=TriggerOptions(tags=["x"]))
    harness.run_until_idle()
    assert (handle.result(), harness.stored(handle.id).spec.tags) == (8, ("x",))
    assert trigger("double", value=5).task == "double"


def test_an_unknown_name_is_refused_with_the_closest_and_what_to_do(harness: Harness) -> None:
    declared(harness)
    before = harness.memory.dump()
    with pytest.raises(UnknownTask, match="'duoble'; did you mean 'double'") as refused:
        trigger("duoble", 1)
    assert "autodiscover_tasks()" in str(refused.value)
    assert harness.memory.dump() == before


def test_a_batch_is_started_in_order_all_or_nothing(harness: Harness) -> None:
    double = declared(harness)
    tagged = double.options(tags=["all"])
    handles = tagged.batch_trigger([(1,), [2], double.options(tags=["own"]).call(3)])
    harness.run_until_idle()
    assert [handle.result() for handle in handles] == [2, 4, 6]
    assert [harness.stored(h.id).spec.tags for h in handles] == [("all",), ("all",), ("all", "own")]
    assert len(harness.dispatcher.nudges) == 3
    assert double.batch_trigger([]) == []
    before = harness.memory.dump()
    for wrong, error in (("ab", UsageError), ({"a": 1}, UsageError), ((1, 2), TypeError)):
        with pytest.raises(error):
            double.batch_trigger([(1,), wrong])  # type: ignore[list-item]  # that is the mistake
    assert harness.memory.dump() == before


def test_a_trigger_vanishes_with_the_callers_transaction(harness: Harness) -> None:
    double = declared(harness)

    def work() -> None:
        with harness.memory.transaction():
            double.options(idempotency_key="k", tags=["a"]).trigger(1)
            double.batch_trigger([(1,), (2,)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not harness.memory.open_runs()
    assert harness.dispatcher.nudges == []


def test_calls_of_celery_take_our_options(harness: Harness) -> None:
    double = declared(harness)
    result = double.apply_async(
        (3,), idempotency_key="k", tags=["t"], ttl=60, max_attempts=2, priority=4, countdown=10
    )
    assert double.apply_async((3,), idempotency_key="k").id == result.id
    run = harness.stored(UUID(result.id))
    assert (run.spec.tags, run.spec.max_attempts, run.spec.priority) == (("t",), 2, 4)
    assert run.available_at == run.created_at + timedelta(seconds=10)
    assert run.deadline_at == run.available_at + timedelta(seconds=60)
    assert canvas.load(run.spec.canvas)["priority"] == 4
    assert reset_idempotency_key(double, "k")
    before = harness.memory.dump()
    for mistake in ({"tags": "x"}, {"ttl": -1}, {"max_attempts": 0}, {"countdown": -1}):
        with pytest.raises((InvalidOption, InvalidTime)):
            double.apply_async((3,), **mistake)
    assert harness.memory.dump() == before


def test_defaults_are_checked_where_a_task_is_declared(harness: Harness) -> None:
    double = declared(harness, ttl=5, max_duration=timedelta(hours=1), tags=["d"], priority=2)
    assert double.durable.defaults == TriggerOptions(
        ttl=5, max_duration=3600, tags=["d"], priority=2
    )
    runs = [harness.stored(UUID(double.delay(1).id)), harness.stored(double.trigger(1).id)]
    assert [run.spec.tags for run in runs] == [("d",)] * 2
    assert [canvas.load(run.spec.canvas)["priority"] for run in runs] == [2, 2]
    for mistake in ({"ttl": -1}, {"tags": "d"}, {"max_duration": 0}, {"priority": "high"}):
        with pytest.raises((InvalidOption, InvalidTime, DeclarationError)):
            durable_task(lambda: None, name="wrong", **mistake)
    assert declared_tasks.get("wrong") is None


def test_a_result_raises_how_a_run_failed_and_does_not_wait_for_ever(harness: Harness) -> None:
    @durable_task(name="napper", max_retries=0)
    def sleeper(fails: bool) -> None:
        if fails:
            raise ValueError("no")
        sleep(DAY)

    harness.engine.tasks.add(sleeper.durable)
    failed = sleeper.trigger(True)
    expired = sleeper.options(ttl=60, delay=60).trigger(False)
    slow = sleeper.options(max_duration=60).trigger(False)
    with pytest.raises(WaitTimeout, match=f"{failed.id} of task 'napper' is still queued"):
        failed.result(timeout=timedelta(seconds=3))
    harness.execute(slow.id)
    harness.advance(timedelta(minutes=3))
    harness.sweep()
    harness.run_until_idle()
    for handle, error in ((failed, RunFailed), (expired, RunExpired), (slow, RunTimedOut)):
        with pytest.raises(error):
            handle.result()
    with harness.memory.transaction(), pytest.raises(TransactionOpen):
        failed.result()


def parent_of(harness: Harness, child: DurableTask[[int], int] | ConfiguredTask[[int], int]) -> Any:
    def parent(fails: bool = False) -> list[Any]:
        one = child.trigger(1)
        many = child.batch_trigger([(2,), (3,)])
        sleep(60)
        return [one, *many]

    return harness.task(parent)


def test_a_body_starts_a_run_once_however_often_it_is_replayed(harness: Harness) -> None:
    double = declared(harness)
    task = parent_of(harness, double)
    run_id = harness.trigger(task)
    harness.run_until_idle()
    handles = harness.result(run_id)
    assert all(isinstance(handle, RunHandle) and handle.created for handle in handles)
    assert [harness.result(handle.id) for handle in handles] == [2, 4, 6]
    assert list(harness.steps(run_id)) == ["trigger double", "trigger double#2"]
    runs = [harness.stored(handle.id) for handle in handles]
    assert [(run.spec.parent_id, run.spec.closes_with_parent) for run in runs] == [
        (run_id, False)
    ] * 3
    assert len(harness.memory.dump()["runs"]) == 4  # type: ignore[arg-type]  # a dict


def test_a_run_closes_with_its_parent_only_on_request(harness: Harness) -> None:
    double = declared(harness)
    task = parent_of(harness, double.options(parent_close="cancel"))
    run_id = harness.trigger(task)
    harness.run_until_idle()
    handles = harness.result(run_id)
    assert all(harness.stored(handle.id).spec.closes_with_parent for handle in handles)
    outside = double.options(parent_close="cancel").trigger(1)
    assert not harness.stored(outside.id).spec.closes_with_parent


def test_an_async_body_awaits_a_trigger(harness: Harness) -> None:
    double = declared(harness)

    async def parent() -> list[Any]:
        one = await double.options(tags=["a"]).trigger(1)
        many = await double.batch_trigger([(2,), (3,)])
        named = await trigger("double", 4)
        await sleep(60)
        return [one, *many, named]

    run_id = harness.trigger(harness.task(parent))
    harness.run_until_idle()
    assert [harness.result(handle.id) for handle in harness.result(run_id)] == [2, 4, 6, 8]


def test_a_step_starts_a_run_of_the_run_it_is_in(harness: Harness) -> None:
    double = declared(harness)

    @step
    def begin() -> RunHandle[int]:
        return double.options(debounce=Debounce(key="k", delay=60)).trigger(1)

    task = harness.task(lambda: begin(), name="parent")
    run_id = harness.trigger(task)
    harness.run_until_idle()
    assert harness.stored(harness.result(run_id).id).spec.parent_id == run_id


def test_a_body_does_not_wait_for_a_result_while_it_holds_its_worker(harness: Harness) -> None:
    double = declared(harness)
    task = harness.task(lambda: double.trigger(1).result(), name="parent")
    run_id = harness.trigger(task)
    harness.run_until_idle()
    with pytest.raises(RunFailed, match=r"UsageError: .*trigger_and_wait"):
        harness.result(run_id)


def test_a_mistake_in_a_body_starts_nothing_and_is_no_failed_step(harness: Harness) -> None:
    double = declared(harness)

    def body() -> str:
        try:
            double.batch_trigger([(1,), (object(),)])
        except EncodeError as error:
            return error.path
        return ""

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert harness.result(run_id) == "$[0][0]"
    tables: Any = harness.memory.dump()
    assert (list(tables["runs"]), tables["failures"]) == ([run_id], [])
