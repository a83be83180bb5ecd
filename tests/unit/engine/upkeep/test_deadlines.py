"""``ttl`` and ``max_duration``: runs end in time wherever they are, also without a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import RetryPolicy, TriggerOptions, sleep, step, wait_for_event
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Finished, Left
from trigger_celery.errors import RunExpired, RunTimedOut
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import DeadLetterFilter
from trigger_celery.vocabulary.states import RunState, WaitState

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def started(
    harness: Harness, body: Any, *, retry: RetryPolicy | None = None, **options: Any
) -> UUID:
    task = harness.task(body, name="task", retry=retry)
    return trigger(harness.engine, task, options=TriggerOptions(**options))


def test_a_run_that_no_worker_started_in_time_expires(harness: Harness) -> None:
    run_id = started(harness, lambda: 1, ttl=60, delay=60)
    harness.advance(2 * MINUTE)
    harness.sweep()
    run = harness.run(run_id)
    assert (run.state, run.started_at) == (RunState.EXPIRED, None)
    executed = harness.execute(run_id)
    assert isinstance(executed, Finished)
    assert isinstance(executed.error, RunExpired)
    assert executed.owed
    assert harness.stored(run_id).published_at is not None
    with pytest.raises(RunExpired, match="not started within its ttl"):
        harness.result(run_id)
    assert not harness.memory.dead_letters.find(DeadLetterFilter(), limit=9)


def test_a_late_nudge_does_not_start_a_run_after_its_ttl(harness: Harness) -> None:
    run_id = started(harness, lambda: 1, ttl=60)
    harness.advance(MINUTE)
    assert harness.execute(run_id) == Left(reason="not claimed")
    assert harness.run(run_id).started_at is None


def test_a_suspended_run_times_out_although_its_event_never_comes(harness: Harness) -> None:
    run_id = started(harness, lambda: wait_for_event("never"), max_duration=HOUR)
    harness.run_until_idle()
    run = harness.run(run_id)
    assert run.state is RunState.TIMED_OUT
    assert run.started_at is not None
    assert run.finished_at == run.started_at + HOUR
    assert harness.waits(run_id) == {"never": WaitState.CANCELED}
    (dead_letter,) = harness.memory.dead_letters.find(DeadLetterFilter(), limit=9)
    assert (dead_letter.run_id, dead_letter.state) == (run_id, "open")
    with pytest.raises(RunTimedOut, match=r"max_duration of 1:00:00"):
        harness.result(run_id)


def test_an_executing_run_times_out_and_its_result_is_dropped(harness: Harness) -> None:
    recorded = []

    @step
    def slow() -> None:
        harness.advance(HOUR)
        harness.sweep()
        recorded.append("slow")

    @step
    def after() -> None:
        recorded.append("after")

    def body() -> str:
        slow()
        after()
        return "late"

    run_id = started(harness, body, max_duration=30)
    executed = harness.execute(run_id)
    assert isinstance(executed, Left)
    assert executed.reason == "lease lost"
    assert recorded == ["slow"]
    run = harness.run(run_id)
    assert (run.state, run.output) == (RunState.TIMED_OUT, None)
    assert harness.steps(run_id) == {}
    harness.run_until_idle()
    assert harness.stored(run_id).published_at is not None


def test_a_duration_counts_over_suspensions_crashes_and_attempts(harness: Harness) -> None:
    def body() -> None:
        sleep(40)
        raise OSError

    policy = RetryPolicy(max_attempts=9, min_delay=30, max_delay=30, factor=1, jitter=False)
    run_id = started(harness, body, retry=policy, max_duration=100)
    harness.run_until_idle()
    run = harness.run(run_id)
    assert (run.state, run.attempt) == (RunState.TIMED_OUT, 3)
    assert run.started_at is not None
    assert run.finished_at == run.started_at + timedelta(seconds=100)


def test_a_timed_out_run_that_is_retried_goes_on_with_its_checkpoints(harness: Harness) -> None:
    calls = []

    @step
    def once() -> None:
        calls.append(1)

    def body() -> str:
        once()
        return str(wait_for_event("go").payload)

    run_id = started(harness, body, max_duration=60)
    harness.run_until_idle()
    harness.retry(run_id)
    harness.send_event("go", "went")
    harness.run_until_idle()
    assert harness.result(run_id) == "went"
    assert calls == [1]


def test_a_run_that_ends_in_time_is_left_alone(harness: Harness) -> None:
    run_id = started(harness, lambda: 1, ttl=60, max_duration=60)
    harness.run_until_idle()
    harness.advance(HOUR)
    assert harness.sweep() == 0
    assert harness.result(run_id) == 1
    assert harness.run(run_id).deadline_at is None
