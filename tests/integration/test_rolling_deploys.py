"""Workers of two releases beside each other: one does not know what the other does."""

from __future__ import annotations

from uuid import UUID

import pytest

from support.celery_states import run_of, value_of
from support.waiting import eventually
from support.workers import Site
from testproject.newcomers import newcomer
from trigger_celery.client.starting import trigger
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run

PLACE = ("redis", "redis")
pytestmark = pytest.mark.requires("redis")
NEW = ("-I", "testproject.newcomers")
NOT_KNOWN = "does not know task 'newcomer'"


def test_runs_of_a_new_task_wait_for_a_worker_that_knows_it(place: Site) -> None:
    old = place.start(concurrency=1)
    old.wait_until_ready()
    results = [newcomer.delay(number) for number in range(3)]
    eventually(lambda: NOT_KNOWN in old.output())
    assert [result.state for result in results] == ["PENDING"] * 3
    new = place.start(*NEW, concurrency=1)
    new.wait_until_ready()
    assert [value_of(result) for result in results] == [0, 1, 2]
    assert {run_of(result).fence for result in results} == {1}
    assert old.output().count(NOT_KNOWN) == 1
    assert "unregistered task" not in old.output()
    old.kill()
    new.kill()


def test_a_run_under_an_earlier_name_is_executed_by_the_renamed_task(place: Site) -> None:
    new = place.start(*NEW, concurrency=1)
    new.wait_until_ready()
    handle = trigger("named-at-first", 7)
    eventually(lambda: Run.objects.get(pk=handle.id).state == RunState.COMPLETED)
    run = Run.objects.get(pk=UUID(str(handle.id)))
    assert (run.task, run.output) == ("named-at-first", "7")
    assert place.effects(handle.id) == ["renamed", "last"]
    new.kill()
