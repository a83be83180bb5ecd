"""Runs that start runs and wait for them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import RetryPolicy, current_run, fork_run, sleep, step, wait_for_event
from trigger_celery.body.children import Together
from trigger_celery.body.steps import primitive
from trigger_celery.client.starting import run_together, start_one
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import Debounce, TriggerOptions
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.errors import (
    ChildRunFailed,
    InvalidTime,
    NestedStep,
    NonDeterminismError,
    NotInRun,
    RunCanceled,
    RunFailed,
    WaitCycle,
    WaitTimeout,
)
from trigger_celery.testing import Harness
from trigger_celery.testing.contract.tools import asked
from trigger_celery.vocabulary.records import Candidate
from trigger_celery.vocabulary.states import RunState, WaitState

STILL = timedelta(0)


class Family(Harness):
    """A harness whose bodies start children of its own tasks."""

    def starts(self, task: TaskDefinition, **options: Any) -> Callable[..., Any]:
        """Return what starts one run of ``task`` and waits for it, as a body calls it."""
        chosen = TriggerOptions(**options.pop("options", {}))

        @primitive
        def start(*args: Any, **kwargs: Any) -> Any:
            request = Request(definition=task, args=args, kwargs=kwargs, options=chosen)
            how = Together(single=True, **options)
            return run_together(self.engine, task.name, [request], how, frame=sys._getframe(1))

        return start

    def starts_all(self, task: TaskDefinition, **options: Any) -> Callable[..., Any]:
        """Return what starts a run of ``task`` for each of the values and waits for all."""
        chosen = TriggerOptions(**options.pop("options", {}))

        @primitive
        def start(values: Any) -> Any:
            asked = [Request(definition=task, args=(value,), options=chosen) for value in values]
            how = Together(**options)
            return run_together(self.engine, task.name, asked, how, frame=sys._getframe(1))

        return start

    def wakes(self, run_id: UUID) -> int:
        """Return how often a run was woken."""
        return [entry.verb for entry in self.memory.runs.history(run_id)].count("wake")


@pytest.fixture
def family() -> Iterator[Family]:
    with Family() as harness:
        yield harness


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def gives_up(family: Family) -> TaskDefinition:
    return family.task(double, retry=RetryPolicy(max_attempts=1))


def waits_for_go(number: int) -> int:
    wait_for_event("go", filter={"to": number})
    return number


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


def test_a_replay_sees_what_the_parent_saw_though_a_person_retried_the_child(
    family: Family,
) -> None:
    broken = [True]

    def child() -> str:
        if broken[0]:
            raise ValueError("not yet")
        return "well"

    start = family.starts(family.task(child, retry=RetryPolicy(max_attempts=1)))

    def parent() -> Any:
        try:
            return start()
        except ChildRunFailed:
            wait_for_event("go")
            return "ill"

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    broken.clear()
    broken.append(False)
    child_run = child_id(run_id, "child", 0)
    family.retry(child_run)
    family.run_until_idle()
    assert family.result(child_run) == "well"
    family.send_event("go")
    family.run_until_idle()
    assert family.result(run_id) == "ill"


def test_a_child_that_is_retried_before_its_parent_took_the_failure_is_waited_for(
    family: Family,
) -> None:
    broken = [True]

    def child() -> str:
        if broken[0]:
            raise ValueError("not yet")
        return "well"

    start = family.starts(family.task(child, retry=RetryPolicy(max_attempts=1)))

    def parent() -> Any:
        return start()

    run_id = family.trigger(family.task(parent))
    child_run = child_id(run_id, "child", 0)
    family.execute(run_id)
    family.execute(child_run)
    assert family.run(run_id).state is RunState.QUEUED
    family.retry(child_run)
    family.execute(run_id)
    assert family.run(run_id).state is RunState.SUSPENDED
    broken[0] = False
    family.run_until_idle()
    assert family.result(run_id) == "well"


def test_a_parent_that_is_retried_starts_no_child_twice(family: Family) -> None:
    broken = [True]
    started: list[int] = []

    def child(number: int) -> int:
        started.append(number)
        return number

    start = family.starts_all(family.task(child))

    def parent() -> Any:
        found = start([1, 2])
        if broken[0]:
            raise ValueError("not yet")
        return found

    run_id = family.trigger(family.task(parent, retry=RetryPolicy(max_attempts=1)))
    family.run_until_idle()
    broken[0] = False
    family.retry(run_id)
    family.run_until_idle()
    assert family.result(run_id) == [1, 2]
    assert started == [1, 2]


def test_a_parent_that_was_retried_while_its_children_ran_waits_for_the_same_ones(
    family: Family,
) -> None:
    start = family.starts_all(family.task(waits_for_go))

    async def parent() -> Any:
        async def fails() -> None:
            if broken:
                raise ValueError("not yet")

        found = asyncio.ensure_future(_awaited(start([1, 2])))
        await asyncio.sleep(0)
        await step.run("fails", fails)
        return await found

    broken = [True]
    task = family.task(parent, retry=RetryPolicy(max_attempts=1), checkpoint="explicit")
    run_id = family.trigger(task)
    family.run_until_idle()
    assert family.run(run_id).state is RunState.FAILED
    broken.clear()
    family.retry(run_id)
    family.run_until_idle(STILL)
    for number in (1, 2):
        family.send_event("go", {"to": number})
    family.run_until_idle()
    assert family.result(run_id) == [1, 2]


async def _awaited(call: Any) -> Any:
    return await call


def test_after_its_timeout_a_wait_raises_and_its_children_are_canceled(family: Family) -> None:
    start = family.starts_all(family.task(waits_for_go), timeout=60)

    def parent() -> Any:
        try:
            start([1, 2])
        except WaitTimeout as error:
            return str(error)
        return ""

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert "did not end within 60" in family.result(run_id)
    for index in (0, 1):
        child = family.stored(child_id(run_id, "waits_for_go", index))
        assert child.state is RunState.CANCELED
        assert child.published_at is not None


def test_a_default_stands_for_a_timeout_and_abandoned_children_go_on(family: Family) -> None:
    start = family.starts(
        family.task(waits_for_go), timeout=60, default="late", options={"parent_close": "abandon"}
    )

    def parent() -> Any:
        found = start(1)
        sleep(1)
        return found

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == "late"
    child = child_id(run_id, "waits_for_go", 0)
    family.send_event("go", {"to": 1})
    family.run_until_idle()
    assert family.result(child) == 1


def test_cancel_reaches_children_and_their_children(family: Family) -> None:
    start_leaf = family.starts_all(family.task(waits_for_go))

    def middle(number: int) -> Any:
        return start_leaf([number, number + 1])

    start_middle = family.starts_all(family.task(middle))

    def parent() -> Any:
        return start_middle([10, 20])

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id, "enough")
    family.run_until_idle(STILL)
    middles = [child_id(run_id, "middle", index) for index in range(2)]
    leaves = [child_id(each, "waits_for_go", index) for each in middles for index in range(2)]
    assert {family.run(each).state for each in (*middles, *leaves)} == {RunState.CANCELED}
    with pytest.raises(RunCanceled, match=f"run {run_id}, which had started it"):
        family.result(middles[0])


def test_cancel_goes_on_where_a_worker_left_it(family: Family) -> None:
    start = family.starts_all(family.task(waits_for_go))

    def parent() -> Any:
        return start(range(600))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id)
    children = [child_id(run_id, "waits_for_go", index) for index in range(600)]
    states = [family.run(each).state for each in children]
    assert states.count(RunState.CANCELED) == 500
    family.execute(run_id)
    assert {family.run(each).state for each in children} == {RunState.CANCELED}


def test_what_a_canceled_body_still_starts_is_canceled_if_it_closes_with_it(family: Family) -> None:
    child = family.task(waits_for_go)
    tied = Request(definition=child, args=(1,), options=TriggerOptions(parent_close="cancel"))

    def parent() -> None:
        assert family.cancel(current_run().id)
        family.execute(current_run().id)  # another worker publishes that
        start_one(family.engine, tied, frame=sys._getframe())

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    (started,) = set(family.memory.dump()["runs"]) - {run_id}  # type: ignore[call-overload]
    assert family.run(started).state is RunState.CANCELED


def test_cancel_leaves_abandoned_children_alone(family: Family) -> None:
    start = family.starts(family.task(waits_for_go), options={"parent_close": "abandon"})

    def parent() -> Any:
        return start(1)

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id)
    family.run_until_idle(STILL)
    child = child_id(run_id, "waits_for_go", 0)
    assert family.run(child).state is RunState.SUSPENDED
    family.send_event("go", {"to": 1})
    family.run_until_idle()
    assert family.result(child) == 1


def test_a_child_that_is_canceled_alone_fails_its_parent(family: Family) -> None:
    start = family.starts(family.task(waits_for_go))

    def parent() -> Any:
        try:
            return str(start(1))
        except ChildRunFailed as error:
            return f"{error.kind}: {error.message}"

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(child_id(run_id, "waits_for_go", 0), "no need")
    family.run_until_idle()
    assert family.result(run_id) == "RunCanceled: no need"


def test_a_child_whose_worker_died_too_often_wakes_its_parent(family: Family) -> None:
    task = family.task(double, max_crashes=1)
    start = family.starts(task)

    def parent() -> Any:
        try:
            return str(start(1))
        except ChildRunFailed as error:
            return error.kind

    run_id = family.trigger(family.task(parent))
    family.execute(run_id)
    child = child_id(run_id, "double", 0)
    _claim_and_die(family, child)
    family.run_until_idle()
    assert family.result(run_id) == "RunCrashed"


def _claim_and_die(family: Family, run_id: UUID) -> None:
    assert family.memory.runs.claim(asked(run_id, task=family.run(run_id).task)) is not None
    family.advance(timedelta(minutes=2))


def test_the_number_of_children_must_not_change_between_replays(family: Family) -> None:
    start = family.starts_all(family.task(double))
    sizes = [3]

    def parent() -> Any:
        found = start(range(sizes[0]))
        wait_for_event("go")
        return found

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    sizes[0] = 2
    family.send_event("go")
    family.run_until_idle()
    with pytest.raises(RunFailed) as caught:
        family.result(run_id)
    assert caught.value.kind == NonDeterminismError.__name__
    assert "starts 2 runs in the code but 3 in the record" in caught.value.message


def test_more_children_than_were_started_are_refused(family: Family) -> None:
    start = family.starts_all(family.task(double))
    sizes = [2]

    def parent() -> Any:
        return start(range(sizes[0]))

    run_id = family.trigger(family.task(parent))
    family.execute(run_id)
    sizes[0] = 3
    family.run_until_idle()
    with pytest.raises(RunFailed, match="was never started, or was deleted"):
        family.result(run_id)


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


def test_a_fork_takes_the_results_of_children_and_starts_none_again(family: Family) -> None:
    start = family.starts_all(gives_up(family), return_exceptions=True)
    broken = [True]

    def last() -> str:
        if broken[0]:
            raise ValueError("not yet")
        return "well"

    def parent() -> Any:
        first, second = start([1, -2])
        return [first, str(second.run_id), step.run("last", last)]

    run_id = family.trigger(family.task(parent, retry=RetryPolicy(max_attempts=1)))
    family.run_until_idle()
    broken[0] = False
    copy = fork_run(run_id, step="~results/0/double")
    assert family.run(copy).copied_from_id == run_id
    copy_of_all = fork_run(run_id, step="last")
    family.run_until_idle()
    # One got the wait alone and started children of its own, the other got their results too.
    assert family.result(copy) == [2, str(child_id(copy, "double", 1)), "well"]
    assert family.result(copy_of_all) == [2, str(child_id(run_id, "double", 1)), "well"]
    assert family.memory.children.ends([child_id(copy_of_all, "double", 0)]) == {}
