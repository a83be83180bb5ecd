"""One call of execute() is one segment: what it claims, what it stores, what it returns."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import NOT_CLAIMED, Finished
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState


@step
def once(value: int) -> int:
    return value


def body(value: int = 1) -> int:
    return once(value)


def test_a_finished_segment_returns_the_stored_value(harness: Harness) -> None:
    task = harness.task(lambda: (1, [2]), name="task")
    executed = execute(harness.engine, harness.trigger(task), task)
    assert isinstance(executed, Finished)
    assert (executed.state, executed.value, executed.error) == (
        RunState.COMPLETED,
        (1, [2]),
        None,
    )


def test_a_failed_segment_returns_the_error_itself(harness: Harness) -> None:
    error = LookupError("gone")

    def failing() -> None:
        raise error

    task = harness.task(failing, retry=RetryPolicy(max_attempts=1))
    executed = execute(harness.engine, harness.trigger(task), task)
    assert isinstance(executed, Finished)
    assert executed.error is error


def test_a_run_that_cannot_be_claimed_is_left(harness: Harness) -> None:
    task = harness.task(body)
    other = harness.task(body, name="other")
    run_id = harness.trigger(task)
    assert execute(harness.engine, uuid4(), task) is NOT_CLAIMED
    assert execute(harness.engine, run_id, other) is NOT_CLAIMED
    assert isinstance(execute(harness.engine, run_id, task), Finished)
    assert execute(harness.engine, run_id, task) is NOT_CLAIMED


def test_another_body_may_stand_in(harness: Harness) -> None:
    task = harness.task(body)
    run_id = harness.trigger(task, 5)
    execute(harness.engine, run_id, task, body=lambda value: body(value) + 1)
    assert harness.result(run_id) == 6


def test_the_publisher_is_asked_with_the_run(harness: Harness) -> None:
    asked: list[Run] = []

    def owes(run: Run) -> bool:
        asked.append(run)
        return True

    task = harness.task(body)
    run_id = trigger(harness.engine, task, (1,), canvas="link")
    executed = execute(harness.engine, run_id, task, publish=owes)
    assert isinstance(executed, Finished)
    assert executed.owed
    assert [(run.id, run.spec.canvas) for run in asked] == [(run_id, "link")]


def test_a_run_is_created_once_under_its_id(harness: Harness) -> None:
    task = harness.task(body)
    run_id = uuid4()
    assert trigger(harness.engine, task, (1,), id=run_id) == run_id
    assert trigger(harness.engine, task, (2,), id=run_id) == run_id
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert len(harness.dispatcher.nudges) == 1


def test_a_run_appears_with_its_callers_transaction(harness: Harness) -> None:
    task = harness.task(body)
    with harness.memory.transaction():
        run_id = harness.trigger(task)
        assert harness.dispatcher.nudges == []
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [run_id]


def test_the_source_of_a_task_is_stored_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Any] = []
    monkeypatch.setattr(harness.memory, "remember_version", stored.append)
    task = harness.task(body)
    for _ in range(3):
        execute(harness.engine, harness.trigger(task), task)
    assert stored == [task.version]


def test_stored_arguments_that_do_not_fit_any_more_fail_the_run(harness: Harness) -> None:
    task = harness.task(body, retry=RetryPolicy(max_attempts=1))
    run_id = harness.trigger(task, 1)
    harness.engine.tasks.remove(task.name)

    def without() -> None: ...

    harness.task(without, name=task.name, retry=RetryPolicy(max_attempts=1))
    harness.run_until_idle()
    assert "TypeError" in (harness.stored(run_id).error or "")


def test_a_step_is_measured(harness: Harness) -> None:
    @step
    def work() -> None:
        harness.clock.sleep(2)
        harness.memory.queries += 3

    start = harness.clock.now
    run_id = harness.trigger(harness.task(lambda: work(), name="task"))
    harness.run_until_idle()
    tables: Any = harness.memory.dump()
    span = tables["checkpoints"][run_id]["work"]["span"]
    assert (span["started_at"], (span["ended_at"] - start).seconds) == (start, 2)
    assert span["queries"] == 3
    assert span["peak_memory"] > 0
    assert span["source"].startswith("test_runner.py:")
    assert span["worker"] == harness.engine.worker()
