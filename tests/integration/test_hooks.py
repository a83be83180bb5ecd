"""The hooks of a task are called by workers, also for a run that none of them has."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from support.celery_states import run_of, wait_for_run, wait_until_published
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.shop.tasks import hooked
from trigger_celery import cancel_run, send_event
from trigger_celery.vocabulary.states import RunState

pytestmark = [pytest.mark.requires("redis"), pytest.mark.usefixtures("worker")]
PLACE = ("redis", "redis")


def test_a_suspended_run_that_is_canceled_has_its_hooks_called_by_a_worker(
    place: Site, worker: Worker
) -> None:
    result = hooked.delay(str(uuid4()))
    wait_for_run(result, RunState.SUSPENDED)
    cancel_run(result.id, reason="sold-out")
    expected = ["cancel sold-out", "complete canceled"]
    eventually(lambda: place.effects(result.id) == expected)
    assert os.getpid() not in place.pids(result.id)
    wait_until_published(result)
    assert place.effects(result.id) == expected


def test_a_run_whose_result_is_ignored_has_its_hooks_called(place: Site, worker: Worker) -> None:
    key = str(uuid4())
    result = hooked.delay(key)
    wait_for_run(result, RunState.SUSPENDED)
    send_event("go", {"key": key, "n": 7})
    wait_for_run(result, RunState.COMPLETED)
    wait_until_published(result)
    assert place.effects(result.id) == ["success 7", "complete completed"]
    assert run_of(result).worker
