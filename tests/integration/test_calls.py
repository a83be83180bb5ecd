"""Celery's ways to call a task, and its states, for durable tasks."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from support.celery_states import (
    run_of,
    value_of,
    wait_for_run,
    wait_for_state,
    wait_until_published,
)
from support.waiting import eventually
from support.workers import PREFIX, Site, Worker, queue
from testproject.celery import app
from testproject.shop import tasks
from trigger_celery import send_event
from trigger_celery.errors import UsageError
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run

pytestmark = [
    pytest.mark.requires("redis"),
    pytest.mark.usefixtures("worker"),
    pytest.mark.parametrize(
        "place", [("redis", "redis"), ("redis", "django-db")], indirect=True, ids=["redis", "orm"]
    ),
]

STRANGER = """
import sys
from celery import Celery, signature

url, prefix = sys.argv[1:]
app = Celery(broker=url)
app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}."}
options = {"queue": f"{prefix}.other"}
print(signature({"task": "routed", "args": [], "kwargs": {}, "options": options}, app=app).delay())
"""
"""A client that knows neither Django nor the task, only its name."""


def test_delay_and_apply_async_give_results(place: Site, worker: Worker) -> None:
    assert value_of(tasks.linear.delay(1)) == 2
    assert value_of(tasks.linear.apply_async(kwargs={"value": 2})) == 3


def test_a_countdown_is_the_time_of_the_row_and_sends_no_message(
    place: Site, worker: Worker
) -> None:
    result = tasks.linear.apply_async((1,), countdown=2)
    run = run_of(result)
    assert run.state is RunState.QUEUED
    assert timedelta(seconds=1.9) < run.available_at - run.created_at < timedelta(seconds=2.1)
    assert str(result.id) not in worker.output()
    assert value_of(result) == 2
    started = run_of(result).started_at
    assert started is not None
    assert started >= run.available_at


def test_an_eta_is_the_time_of_the_row(place: Site, worker: Worker) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=0.5)
    result = tasks.linear.apply_async((1,), eta=eta)
    assert run_of(result).available_at == eta
    assert value_of(result) == 2


def test_states_are_those_of_celery_and_suspended(place: Site, worker: Worker) -> None:
    delayed = tasks.linear.apply_async((1,), countdown=60)
    assert delayed.state == "PENDING"
    waiting = tasks.waiter.delay(str(uuid4()))
    wait_for_state(waiting, "SUSPENDED")
    retried = tasks.patient_retry.delay()
    wait_for_state(retried, "RETRY")
    failed = tasks.failing.delay()
    wait_for_state(failed, "FAILURE")
    done = tasks.linear.delay(1)
    wait_for_state(done, "SUCCESS")


def test_started_is_shown_when_the_task_wants_it(place: Site, worker: Worker) -> None:
    name = f"started-{place.results}"
    barrier = place.hold(name)
    result = tasks.tracked.delay(name)
    wait_for_state(result, "STARTED")
    barrier.unlink()
    assert value_of(result) == name
    app.send_task("tracked", (name,), task_id=result.id)
    value_of(tasks.linear.delay(1))
    assert result.state == "SUCCESS"


def test_an_event_wakes_runs_of_both_kinds(place: Site, worker: Worker) -> None:
    for task in (tasks.waiter, tasks.async_waiter):
        key = str(uuid4())
        result = task.delay(key)
        wait_for_run(result, RunState.SUSPENDED)
        send_event("go", {"key": key, "n": 5})
        assert value_of(result) in (5, 6)
        assert len(place.effects(result.id)) in (1, 2)


def test_a_result_that_is_ignored_is_not_stored(place: Site, worker: Worker) -> None:
    result = tasks.quiet.delay(1)
    wait_for_run(result, RunState.COMPLETED)
    once = tasks.linear.apply_async((1,), ignore_result=True)
    wait_for_run(once, RunState.COMPLETED)
    value_of(tasks.linear.delay(1))
    assert app.AsyncResult(result.id).state == "PENDING"
    assert app.AsyncResult(once.id).state == "PENDING"
    assert once.get(timeout=1) is None


def test_a_bound_task_may_ask_for_a_retry(place: Site, worker: Worker) -> None:
    result = tasks.flaky.delay(2)
    assert value_of(result) == [3, 2]
    assert place.effects(result.id) == ["first", "attempt-1", "attempt-2", "attempt-3"]


def test_a_bound_async_body_sees_its_request(place: Site, worker: Worker) -> None:
    assert value_of(tasks.bound_async.delay(1)) == [1, True]


def test_every_segment_goes_to_the_queue_that_was_asked_for(place: Site, worker: Worker) -> None:
    result = tasks.routed.apply_async(queue=queue("other"), priority=3)
    value_of(result)
    assert place.effects(result.id) == ["via-other", "via-other", "last"]


def test_a_task_that_was_sent_by_name_becomes_a_run(place: Site, worker: Worker) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", STRANGER, app.conf.broker_url, PREFIX],
        check=True,
        capture_output=True,
        timeout=60,
        text=True,
    )
    result = app.AsyncResult(printed.stdout.split()[-1])
    assert value_of(result) == "routed"
    eventually(lambda: run_of(result).published_at)
    assert place.effects(result.id) == ["via-other", "via-other", "last"]


def test_a_task_id_of_ones_own_is_a_uuid(place: Site, worker: Worker) -> None:
    own = uuid4()
    result = tasks.linear.apply_async((1,), task_id=str(own))
    assert UUID(str(result.id)) == own
    assert value_of(result) == 2
    with pytest.raises(UsageError, match=r"expected task_id of durable task 'linear' to be a UUID"):
        tasks.linear.apply_async((1,), task_id="mine")
    again = tasks.linear.apply_async((5,), task_id=str(own))
    assert value_of(again) == 2


def test_a_task_sent_by_name_under_another_id_fails_and_says_why(
    place: Site, worker: Worker
) -> None:
    result = app.send_task("linear", (1,), task_id=f"mine-{place.results}")
    with pytest.raises(Exception, match="to be a UUID"):
        value_of(result)


def test_a_rolled_back_trigger_leaves_neither_run_nor_message(place: Site, worker: Worker) -> None:
    with transaction.atomic():
        result = tasks.linear.delay(1)
        transaction.set_rollback(True)
    value_of(tasks.linear.delay(1))
    assert not Run.objects.filter(id=result.id).exists()
    assert str(result.id) not in worker.output()


def test_a_trigger_inside_a_body_is_not_repeated_on_replay(place: Site, worker: Worker) -> None:
    result = tasks.parent.delay(1)
    child = app.AsyncResult(value_of(result))
    assert value_of(child) == 2
    assert run_of(result).fence == 2
    assert run_of(child).fence == 1
    wait_until_published(child)


def test_a_plain_task_may_start_a_run(place: Site, worker: Worker) -> None:
    result = tasks.plain_trigger.delay(1)
    assert value_of(app.AsyncResult(value_of(result))) == 2
    assert len(result.children or []) == 1
