"""Leaving a body for a suspension: what a body may do meanwhile, and what it may not."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import current_run, current_session
from trigger_celery.body.steps import step
from trigger_celery.body.values import now
from trigger_celery.body.waits import sleep, wait_for_event
from trigger_celery.client.events import send_event
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import NotInRun, UsageError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

LOG: list[str] = []
NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


@step
def note(text: str) -> None:
    LOG.append(text)


def carried(harness: Harness, body: Any, **options: Any) -> Run:
    run_id = harness.trigger(harness.task(body, name="task", **options))
    harness.run_until_idle(NOW)
    return harness.stored(run_id)


def test_except_exception_does_not_catch_a_suspension(harness: Harness) -> None:
    def body() -> None:
        try:
            sleep(60)
        except Exception:
            LOG.append("caught")

    assert carried(harness, body).state is RunState.SUSPENDED
    assert LOG == []


def test_a_swallowed_suspension_fails_the_run_and_names_the_wait(harness: Harness) -> None:
    def body() -> str:
        try:
            wait_for_event("approved")
        except:  # noqa: E722
            LOG.append("swallowed")
        return "went on"

    run = carried(harness, body)
    assert run.state is RunState.FAILED
    assert "SuspensionSwallowed" in (run.error or "")
    assert "caught the suspension at 'approved'" in (run.error or "")
    assert LOG == ["swallowed"]


def test_after_a_swallowed_suspension_no_durable_call_does_anything(harness: Harness) -> None:
    def body() -> None:
        try:
            sleep(60)
        except BaseException:
            for call in (note, send_event, lambda _: sleep(1), lambda _: now()):
                try:
                    call("early")
                except BaseException as error:
                    LOG.append(type(error).__name__)

    run = carried(harness, body)
    assert "SuspensionSwallowed" in (run.error or "")
    assert LOG == ["Suspension"] * 4
    assert harness.steps(run.id) == {}


def test_a_step_in_finally_runs_when_the_wait_is_over(harness: Harness) -> None:
    def body() -> None:
        try:
            sleep(60)
        finally:
            LOG.append("cleanup")
            note("step")

    run = carried(harness, body)
    assert run.state is RunState.SUSPENDED
    assert LOG == ["cleanup"]
    harness.run_until_idle()
    assert harness.run(run.id).state is RunState.COMPLETED
    assert LOG == ["cleanup", "cleanup", "step"]


def test_an_error_in_finally_fails_the_attempt(harness: Harness) -> None:
    def body() -> None:
        try:
            sleep(60)
        finally:
            raise LookupError("in finally")

    run = carried(harness, body, retry=ONCE)
    assert run.state is RunState.FAILED
    assert "in finally" in (run.error or "")
    assert harness.waits(run.id) == {}


def test_an_error_in_finally_does_not_keep_a_worker_from_shutting_down(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> None:
        try:
            note("step")
        finally:
            raise LookupError("in finally")

    harness.engine.draining = lambda: True
    run = carried(harness, body, retry=ONCE)
    assert run.state is RunState.QUEUED
    assert "failed while it was being left: LookupError('in finally')" in caplog.text


def test_a_worker_that_shuts_down_hands_back_at_the_next_boundary(harness: Harness) -> None:
    def body() -> None:
        note("one")
        harness.engine.draining = lambda: True
        note("two")

    run = carried(harness, body)
    assert (run.state, run.crashes, run.attempt) == (RunState.QUEUED, 0, 1)
    assert run.worker == ""
    assert LOG == ["one"]
    assert [nudge.run_id for nudge in harness.dispatcher.nudges] == [run.id, run.id]
    harness.engine.draining = bool
    task = harness.engine.tasks.get("task")
    assert task is not None
    execute(harness.engine, run.id, task, body=lambda: note("one"))
    assert LOG == ["one"]
    assert harness.run(run.id).state is RunState.COMPLETED


def test_a_handed_back_body_that_swallows_it_is_not_blamed(harness: Harness) -> None:
    def body() -> None:
        try:
            note("one")
        except BaseException:
            LOG.append("swallowed")

    harness.engine.draining = lambda: True
    assert carried(harness, body).state is RunState.QUEUED
    harness.engine.draining = bool
    harness.run_until_idle(NOW)
    assert LOG == ["swallowed", "one"]


def test_recorded_steps_return_while_the_worker_shuts_down(harness: Harness) -> None:
    def body() -> None:
        note("one")
        sleep(60)

    run = carried(harness, body)
    harness.advance(timedelta(seconds=60))
    harness.engine.draining = lambda: True
    harness.run_until_idle(NOW)
    assert harness.run(run.id).state is RunState.COMPLETED


def test_the_context_is_clean_after_a_segment(harness: Harness) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    def body() -> None:
        variable.set("dirty")
        sleep(60)

    async def async_body() -> None:
        variable.set("dirty")
        await sleep(60)

    assert carried(harness, body).state is RunState.SUSPENDED
    harness.engine.tasks.remove("task")
    assert carried(harness, async_body).state is RunState.SUSPENDED
    assert variable.get() == "clean"
    assert current_session() is None
    with pytest.raises(NotInRun):
        current_run()


def test_the_context_is_clean_after_a_body_that_is_interrupted(harness: Harness) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried(harness, body)
    assert current_session() is None
    [run_id] = harness.memory.open_runs()
    assert harness.run(run_id).state is RunState.EXECUTING  # its lease will run out


def test_a_body_sees_its_run(harness: Harness) -> None:
    @step
    def inner() -> list[object]:
        run = current_run()
        return [run.step_key, run.idempotency_key]

    def body() -> list[object]:
        run = current_run()
        return [run.task, run.attempt, run.crashes, run.fence, run.step_key, str(run.id), inner()]

    run = carried(harness, body)
    text = str(run.id)
    assert harness.result(run.id) == ["task", 1, 0, 1, None, text, ["inner", f"{text}:inner"]]


def test_a_transaction_that_a_body_left_open_is_named(harness: Harness) -> None:
    blocks: list[Any] = []

    def body() -> None:
        blocks.append(harness.memory.transaction())
        blocks[0].__enter__()
        note("inside")

    # As a database does it: what a thread holds is closed, and an open block rolled back.
    harness.memory.release = lambda: blocks.pop().__exit__(None, None, None)  # type: ignore[method-assign]
    run = carried(harness, body)
    assert run.state is RunState.FAILED
    assert "step 'note'" in (run.error or "")
    assert LOG == []


def test_a_step_that_leaves_a_transaction_open_fails(harness: Harness) -> None:
    @step
    def leaky() -> None:
        blocks.append(harness.memory.transaction())
        blocks[0].__enter__()

    blocks: list[Any] = []

    def body() -> str:
        try:
            leaky()
        except UsageError as error:
            return str(error)
        finally:
            blocks[0].__exit__(None, None, None)
        return "?"

    run_id = harness.trigger(harness.task(body))
    harness.run_until_idle(NOW)
    assert "the end of step 'leaky'" in harness.result(run_id)


def test_a_suspension_whose_look_back_fails_stays(
    harness: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run_id: object) -> Any:
        raise RuntimeError("no look")

    harness.trigger(harness.task(lambda: wait_for_event("e").payload, name="task"))
    [run_id] = harness.memory.open_runs()
    harness.send_event("e", 5)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(harness.memory.waits, "open", fail)
        left = harness.execute(run_id)
    assert isinstance(left, Left)
    assert left.state is RunState.SUSPENDED
    assert "the look-back at stored events failed" in caplog.text
    harness.run_until_idle()
    assert harness.result(run_id) == 5
