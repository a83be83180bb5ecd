"""The hooks of a task: when each is called, with what, and that their errors change nothing."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from support.hooks import TWICE, Calls, decides, fail, notes
from trigger_celery import (
    CurrentRun,
    RetryPolicy,
    RunResult,
    TriggerOptions,
    current_run,
    durable_task,
    sleep,
    step,
    wait_for_event,
)
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.engine.execution.runner import execute, published
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Finished
from trigger_celery.errors import DeclarationError, NotInRun, RunFailed, UnknownOption
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

STILL = timedelta(0)
declare: Any = durable_task


@pytest.fixture
def calls() -> Calls:
    return Calls()


def echo(value: int) -> int:
    return value


def wait() -> object:
    return wait_for_event("paid").payload


# --- when, and with what


def test_a_run_that_succeeds_calls_start_success_and_complete(
    harness: Harness, calls: Calls
) -> None:
    run_id = harness.trigger(harness.task(echo, **calls.all()), 7)
    harness.run_until_idle()
    assert calls.names == ["on_start", "on_success", "on_complete"]
    assert calls.of("on_success")["output"] == 7
    result = calls.of("on_complete")["result"]
    assert (result.state, result.output, result.error) == (RunState.COMPLETED, 7, None)
    run = calls.of("on_success")["run"]
    assert isinstance(run, CurrentRun)
    assert (run.id, run.task, run.idempotency_key) == (run_id, "echo", f"{run_id}:~on_success")
    assert harness.stored(run_id).published_at is not None


def test_a_run_that_fails_calls_failure_once_after_its_last_attempt(
    harness: Harness, calls: Calls
) -> None:
    run_id = harness.trigger(harness.task(fail, retry=TWICE, **calls.all()))
    harness.run_until_idle()
    assert calls.names == ["on_start", "on_failure", "on_complete"]
    given = calls.of("on_failure")
    assert given["run"].attempt == 2
    error = given["error"]
    assert isinstance(error, RunFailed)
    assert (error.kind, str(error)) == ("LookupError", "LookupError: no such order")
    assert isinstance(error.__cause__, LookupError)
    result = calls.of("on_complete")["result"]
    assert (result.state, result.output, result.error) == (RunState.FAILED, None, error)
    assert harness.run(run_id).state is RunState.FAILED


def test_a_wait_is_between_wait_and_resume(harness: Harness, calls: Calls) -> None:
    harness.trigger(harness.task(wait, **calls.all()))
    harness.run_until_idle(STILL)
    assert calls.names == ["on_start", "on_wait"]
    (info,) = calls.of("on_wait")["waits"]
    assert (info.kind, info.name) == ("wait_for_event", "paid")
    harness.send_event("paid", 5)
    harness.run_until_idle()
    assert calls.names == ["on_start", "on_wait", "on_resume", "on_success", "on_complete"]


def test_the_pause_between_two_attempts_is_no_wait(harness: Harness, calls: Calls) -> None:
    harness.trigger(harness.task(fail, retry=TWICE, **calls.all("on_wait", "on_resume")))
    harness.run_until_idle()
    assert calls.names == []


def test_the_pause_between_two_attempts_of_a_step_is_no_wait(
    harness: Harness, calls: Calls
) -> None:
    @step(retry=RetryPolicy(max_attempts=2, min_delay=60, jitter=False))
    def charge() -> None:
        raise LookupError("not yet")

    def body() -> None:
        charge()

    once = RetryPolicy(max_attempts=1)
    harness.trigger(harness.task(body, retry=once, **calls.all("on_wait")))
    harness.run_until_idle()
    assert calls.names == []


def test_a_suspended_run_that_is_canceled_calls_cancel_where_its_end_is_published(
    harness: Harness, calls: Calls
) -> None:
    task = harness.task(wait, **calls.all("on_success", "on_failure", "on_cancel", "on_complete"))
    run_id = harness.trigger(task)
    harness.run_until_idle(STILL)
    harness.cancel(run_id, "sold out")
    assert calls.names == []
    harness.run_until_idle(STILL)
    assert calls.names == ["on_cancel", "on_complete"]
    assert calls.of("on_cancel")["reason"] == "sold out"
    assert calls.of("on_complete")["result"].state is RunState.CANCELED
    harness.run_until_idle()
    assert len(calls.names) == 2


def test_a_run_that_expires_calls_failure_though_no_worker_ever_had_it(
    harness: Harness, calls: Calls
) -> None:
    task = harness.task(echo, **calls.all())
    trigger(
        harness.engine,
        task,
        (1,),
        options=TriggerOptions(delay=timedelta(minutes=1), ttl=timedelta(minutes=1)),
    )
    harness.advance(timedelta(minutes=3))
    harness.run_until_idle()
    assert calls.names == ["on_failure", "on_complete"]
    assert type(calls.of("on_failure")["error"]).__name__ == "RunExpired"
    assert calls.of("on_complete")["result"].state is RunState.EXPIRED


def test_a_run_that_times_out_while_it_waits_calls_failure(harness: Harness, calls: Calls) -> None:
    task = harness.task(wait, **calls.all("on_failure", "on_complete"))
    trigger(harness.engine, task, options=TriggerOptions(max_duration=timedelta(minutes=1)))
    harness.run_until_idle()
    assert calls.names == ["on_failure", "on_complete"]
    assert type(calls.of("on_failure")["error"]).__name__ == "RunTimedOut"
    assert calls.of("on_complete")["result"].state is RunState.TIMED_OUT


def test_a_run_that_lost_its_workers_calls_failure(harness: Harness, calls: Calls) -> None:
    def deadly() -> None:
        raise KeyboardInterrupt

    run_id = harness.trigger(harness.task(deadly, max_crashes=1, **calls.all("on_failure")))
    with pytest.raises(KeyboardInterrupt):
        harness.execute(run_id)
    harness.run_until_idle()
    assert calls.of("on_failure")["error"].kind == "RunCrashed"


def test_a_hook_of_the_end_is_called_again_if_its_worker_dies_in_it(
    harness: Harness, calls: Calls
) -> None:
    def dies(run: CurrentRun, result: object) -> None:
        calls.made.append(("on_complete", {"run": run}))
        if calls.names.count("on_complete") == 1:
            raise KeyboardInterrupt

    task = harness.task(echo, on_complete=dies, **calls.all("on_success"))
    run_id = harness.trigger(task, 1)
    with pytest.raises(KeyboardInterrupt):
        execute(harness.engine, run_id, task)
    assert harness.stored(run_id).published_at is None
    harness.run_until_idle()
    assert calls.names == ["on_success", "on_complete", "on_complete"]
    first, second = (given["run"].idempotency_key for _, given in calls.made[1:])
    assert first == second == f"{run_id}:~on_complete"
    assert harness.stored(run_id).published_at is not None


def test_an_end_that_is_published_again_calls_no_hook_again(harness: Harness, calls: Calls) -> None:
    task = harness.task(echo, **calls.all("on_success", "on_complete"))
    run_id = harness.trigger(task, 1)
    for _ in range(3):  # its result backend is away: no worker records that the end is published
        executed = execute(harness.engine, run_id, task)
        assert isinstance(executed, Finished)
        assert executed.owed
        harness.advance(timedelta(minutes=5))
        harness.sweep()
    assert calls.names == ["on_success", "on_complete"]
    harness.run_until_idle()
    assert calls.names == ["on_success", "on_complete"]


def test_a_task_with_no_hook_for_the_end_owes_nothing(harness: Harness, calls: Calls) -> None:
    task = harness.task(echo, **calls.all("on_start", "on_wait", "on_resume"))
    executed = execute(harness.engine, harness.trigger(task, 1), task)
    assert isinstance(executed, Finished)
    assert not executed.owed


def test_start_is_repeated_while_nothing_of_the_run_is_recorded(
    harness: Harness, calls: Calls
) -> None:
    alive = iter([False, True])

    def deadly() -> None:
        if not next(alive):
            raise KeyboardInterrupt

    run_id = harness.trigger(harness.task(deadly, **calls.all("on_start", "on_resume")))
    with pytest.raises(KeyboardInterrupt):
        harness.execute(run_id)
    harness.run_until_idle()
    assert calls.names == ["on_start", "on_start"]


def test_a_retry_by_hand_calls_the_hooks_of_the_next_end_too(
    harness: Harness, calls: Calls
) -> None:
    once = RetryPolicy(max_attempts=1)

    def on_complete(run: CurrentRun, result: RunResult) -> None:
        if result.state is RunState.CANCELED:
            calls.made.append(("on_complete", {}))

    task = harness.task(fail, retry=once, on_complete=on_complete, **calls.all("on_failure"))
    run_id = harness.trigger(task)
    harness.run_until_idle()
    harness.retry(run_id)
    harness.run_until_idle()
    assert calls.names == ["on_failure", "on_failure"]
    harness.retry(run_id)
    harness.cancel(run_id)
    harness.run_until_idle()
    assert calls.names == ["on_failure", "on_failure", "on_complete"]


def test_hooks_may_be_async(harness: Harness) -> None:
    received: list[int] = []

    async def on_success(run: CurrentRun, output: int) -> None:
        received.append(output)

    async def body(value: int) -> int:
        return value

    harness.trigger(harness.task(body, on_success=on_success), 3)
    harness.run_until_idle()
    assert received == [3]


# --- errors of hooks


@pytest.mark.parametrize("name", [name for name in HOOKS if name != "on_cancel"])
def test_an_error_in_a_hook_changes_nothing_and_is_shown(
    harness: Harness, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**given: Any) -> None:
        raise ValueError(f"{name} is broken")

    def body(good: bool) -> str:
        sleep(1)
        if not good:
            raise LookupError("no such order")
        return "done"

    once = RetryPolicy(max_attempts=1)
    task = harness.task(body, retry=once, **{name: broken})
    good, bad = harness.trigger(task, good=True), harness.trigger(task, good=False)
    with caplog.at_level(logging.ERROR, "trigger_celery.hooks"):
        harness.run_until_idle()
    assert harness.result(good) == "done"
    with pytest.raises(RunFailed, match="no such order"):
        harness.result(bad)
    shown = [*notes(harness, good), *notes(harness, bad)]
    assert shown
    for note in shown:
        assert note["hook"] == name
        assert f"{name} is broken" in note["error"]
    assert f"{name} of task 'body' failed" in caplog.text


def test_an_error_in_cancel_changes_nothing_and_is_shown(harness: Harness) -> None:
    def on_cancel(run: CurrentRun, reason: str) -> None:
        raise ValueError("broken")

    run_id = harness.trigger(harness.task(wait, on_cancel=on_cancel))
    harness.run_until_idle(STILL)
    harness.cancel(run_id)
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.CANCELED
    assert harness.stored(run_id).published_at is not None
    assert [note["hook"] for note in notes(harness, run_id)] == ["on_cancel"]


def test_the_hook_after_a_broken_one_is_called(harness: Harness, calls: Calls) -> None:
    def broken(**given: Any) -> None:
        raise ValueError("broken")

    harness.trigger(harness.task(echo, on_success=broken, **calls.all("on_complete")), 1)
    harness.run_until_idle()
    assert calls.names == ["on_complete"]


def test_what_a_hook_does_to_the_output_reaches_no_other_reader(harness: Harness) -> None:
    received: list[object] = []

    def spoils(run: CurrentRun, output: list[int]) -> None:
        output.append(99)

    def looks(run: CurrentRun, result: RunResult) -> None:
        received.append(result.output)

    task = harness.task(lambda: [1], name="lists", on_success=spoils, on_complete=looks)
    executed = execute(harness.engine, harness.trigger(task), task)
    assert isinstance(executed, Finished)
    assert (executed.value, received) == ([1], [[1]])


def test_a_failure_that_cannot_be_noted_is_logged(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**given: Any) -> None:
        raise ValueError("broken")

    def refuse(*args: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(harness.memory.runs, "note", refuse)
    run_id = harness.trigger(harness.task(echo, on_start=broken), 1)
    harness.run_until_idle()
    assert harness.result(run_id) == 1
    assert "the call of on_start could not be recorded" in caplog.text


def test_durable_calls_in_a_hook_raise_not_in_run(harness: Harness) -> None:
    raised: list[str] = []

    def asks(name: str, **given: Any) -> None:
        for call in (current_run, partial(sleep, 1), partial(wait_for_event, "paid")):
            try:
                call()
            except NotInRun:
                raised.append(name)

    def body() -> None:
        sleep(1)
        raise LookupError

    once = RetryPolicy(max_attempts=1)
    names = ["on_start", "on_wait", "on_resume", "catch_error", "on_failure", "on_complete"]
    hooks: dict[str, Any] = {name: partial(asks, name) for name in names}
    run_id = harness.trigger(harness.task(body, retry=once, **hooks))
    harness.run_until_idle()
    assert raised == [name for name in names for _ in range(3)]
    assert list(harness.waits(run_id)) == ["sleep"]


def test_a_run_that_waits_for_its_retry_can_be_canceled(harness: Harness, calls: Calls) -> None:
    later = decides(datetime(2100, 1, 1, tzinfo=UTC))
    run_id = harness.trigger(
        harness.task(fail, retry=RetryPolicy(), catch_error=later, **calls.all("on_cancel"))
    )
    harness.run_until_idle(STILL)
    run_control.cancel(harness.engine, run_id, "no use")
    harness.run_until_idle(STILL)
    assert calls.of("on_cancel")["reason"] == "no use"


# --- declarations


def test_a_hook_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(DeclarationError, match="expected on_start of task 'a' to be callable"):
        durable_task(name="a", on_start="notify")(echo)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", list(HOOKS))
def test_a_hook_that_cannot_take_its_arguments_is_refused(name: str) -> None:
    def wrong(run: object, something_else: object) -> None: ...

    called = ", ".join(f"{argument}=" for argument in HOOKS[name])
    with pytest.raises(DeclarationError, match=rf"is called as {name}\({called}\)"):
        declare(name="a", **{name: wrong})(echo)


def test_an_unknown_hook_gets_a_suggestion(harness: Harness) -> None:
    with pytest.raises(UnknownOption, match="did you mean 'on_failure'"):
        durable_task(  # type: ignore[call-overload]
            name="a", on_failed=lambda run, error: None
        )(echo)
    with pytest.raises(UnknownOption, match="did you mean 'on_failure'"):
        harness.task(echo, on_failed=lambda run, error: None)


def test_hooks_of_a_celery_task_are_not_celerys_own(calls: Calls) -> None:
    task = declare(name="own-hooks", **calls.all("on_failure"))(echo)
    assert set(task.durable.hooks) == {"on_failure"}
    assert "on_failure" not in vars(type(task))


def test_confirming_the_end_twice_is_harmless(harness: Harness, calls: Calls) -> None:
    task = harness.task(echo, **calls.all("on_complete"))
    executed = execute(harness.engine, harness.trigger(task, 1), task)
    published(harness.engine, executed)
    published(harness.engine, executed)
    harness.run_until_idle()
    assert calls.names == ["on_complete"]
