"""Branches and step timeouts in a real worker: threads and interruptions in prefork children."""

from __future__ import annotations

from uuid import uuid4

import pytest

from support.celery_states import value_of, wait_for_run, wait_until_published
from support.workers import Site, Worker
from testproject.shop.models import Effect
from testproject.shop.tasks import beside, timed
from trigger_celery import send_event
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import FailedAttempt, Wait

PLACE = ("redis", "redis")
pytestmark = pytest.mark.requires("redis")


def test_a_plain_task_gathers_in_threads_and_waits_once(place: Site, worker: Worker) -> None:
    key = str(uuid4())
    result = beside.delay(key)
    wait_for_run(result, RunState.SUSPENDED)
    assert sorted(place.effects(result.id)) == [f"held-{key}", "stored"]
    assert Effect.objects.filter(run=result.id, step="stored").count() == 1
    send_event("go", {"key": key, "n": 3})
    assert value_of(result) == [key, 7, 3, 1]
    run = wait_until_published(result)
    assert (run.attempt, run.crashes) == (1, 0)
    assert sorted(place.effects(result.id)) == [f"held-{key}", "last", "stored"]
    states = dict(Wait.objects.filter(run_id=result.id).values_list("key", "state"))
    assert states == {
        "branch-3/go": "event",
        "branch-4/never": "canceled",
        "branch-5/sleep": "timeout",
    }


def test_a_step_is_ended_by_its_timeout_in_a_prefork_child(place: Site, worker: Worker) -> None:
    result = timed.delay()
    assert value_of(result) == "in time"
    assert place.effects(result.id) == ["tried", "tried"]
    [failed] = FailedAttempt.objects.filter(run_id=result.id)
    assert "StepTimeout" in failed.error
