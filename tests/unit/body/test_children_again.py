"""Children of a parent that is replayed, retried or forked: none is started twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.families import STILL, Family, awaited, double, gives_up, waits_for_go
from trigger_celery import RetryPolicy, fork_run, step, wait_for_event
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.errors import (
    ChildRunFailed,
    NonDeterminismError,
    RunFailed,
)
from trigger_celery.vocabulary.states import RunState


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

        found = asyncio.ensure_future(awaited(start([1, 2])))
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
