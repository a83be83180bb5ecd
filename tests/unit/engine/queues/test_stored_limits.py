"""Limits of code and settings, and when the store learns of them."""

from __future__ import annotations

import pytest

from support.limited_tasks import body, limited, nudged
from trigger_celery.config import Config
from trigger_celery.declare.queue import Queue
from trigger_celery.engine.segment.outcome import NOT_CLAIMED
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.testing import (
    Harness,
)
from trigger_celery.vocabulary.records import EVERYTHING, NO_LIMITS, Limits
from trigger_celery.vocabulary.states import RunState


def test_a_limit_of_zero_starts_nothing(harness: Harness) -> None:
    run_id = harness.trigger(limited(harness, concurrency_limit=0))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.QUEUED
    assert nudged(harness) == []


def test_limits_hold_from_the_first_claim_of_a_process(harness: Harness) -> None:
    task = harness.task(body, queue=Queue("emails", concurrency_limit=0))
    run_id = harness.trigger(task)  # nothing is known of the queue so far
    assert nudged(harness) == [run_id]
    assert harness.execute(run_id) is NOT_CLAIMED
    assert harness.memory.queues.get("emails") is not None


def test_a_worker_stores_the_limits_of_a_task_before_its_first_claim(harness: Harness) -> None:
    sync_declared(harness.engine)
    task = harness.task(body, concurrency_limit=0)
    assert harness.execute(harness.trigger(task)) is NOT_CLAIMED


def test_changed_settings_are_stored_and_let_runs_in(harness: Harness) -> None:
    task = limited(harness, concurrency_limit=1)
    runs = [harness.trigger(task) for _ in range(3)]
    assert nudged(harness) == runs[:1]
    harness.config = Config(queues={"emails": {"concurrency_limit": 2}})
    assert sync_declared(harness.engine) == 1
    assert nudged(harness) == runs[1:2]
    assert sync_declared(harness.engine) == 0
    harness.config = Config()
    assert sync_declared(harness.engine) == 1
    assert stored_limits(harness, "emails") == Limits(concurrency=1)


def test_a_queue_that_leaves_the_settings_has_no_limits(harness: Harness) -> None:
    harness.config = Config(queues={"calls": {"concurrency_limit": 2}}, concurrency_limit=9)
    sync_declared(harness.engine)
    assert stored_limits(harness, "calls") == Limits(concurrency=2)
    assert stored_limits(harness, EVERYTHING) == Limits(concurrency=9)
    harness.config = Config()
    sync_declared(harness.engine)
    assert stored_limits(harness, "calls") == NO_LIMITS
    assert stored_limits(harness, EVERYTHING) == NO_LIMITS


def test_a_limit_that_leaves_the_code_of_a_task_is_taken_away(harness: Harness) -> None:
    declared = {"task/body": Limits(concurrency=1), "task/unknown": Limits(concurrency=1)}
    harness.memory.queues.declare(declared)
    harness.task(body)
    sync_declared(harness.engine)
    assert stored_limits(harness, "task/body") == NO_LIMITS
    assert stored_limits(harness, "task/unknown") == Limits(concurrency=1)


def test_settings_that_make_no_sense_leave_the_limits_of_before(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = limited(harness, concurrency_limit=1)
    harness.config = Config(queues={"emails": {"concurrency_limit": -1}})
    assert sync_declared(harness.engine) == 0
    assert "the limits of durable queues could not be read" in caplog.text
    assert stored_limits(harness, "emails") == Limits(concurrency=1)
    assert harness.cancel(harness.trigger(task))


def stored_limits(harness: Harness, name: str) -> Limits:
    queue = harness.memory.queues.get(name)
    assert queue is not None
    return queue.limits
