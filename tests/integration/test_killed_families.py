"""Pool processes are killed while children end: their parent is woken once all the same."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from uuid import UUID

import pytest
from celery.result import AsyncResult

from support.celery_states import wait_for_run, wait_until_published
from support.waiting import eventually
from support.workers import Site
from testproject.shop.tasks import patient_parent
from trigger_celery import send_event
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import History, Run

PLACE = ("redis", "redis")
COUNT, KILLS = 50, 5
pytestmark = pytest.mark.requires("redis")


def test_pool_processes_that_die_while_fifty_children_end_cost_no_wake_up(place: Site) -> None:
    for worker in [place.start(), place.start()]:
        worker.wait_until_ready()
    result: AsyncResult[object] = patient_parent.delay(list(range(COUNT)))
    wait_for_run(result, RunState.SUSPENDED)
    parent = UUID(str(result.id))
    ids = [child_id(parent, "patient-child", index) for index in range(COUNT)]
    family = Run.objects.filter(pk__in=ids)
    eventually(lambda: family.filter(state=RunState.SUSPENDED).count() == COUNT, 40)
    # In the body, at its end, or while that is published; no run loses two workers.
    busy = family.filter(crashes=0, published_at=None).exclude(state=RunState.SUSPENDED)
    killed: set[int] = set()

    def kill_one() -> bool:
        names = busy.exclude(worker="").values_list("worker", flat=True)
        pids = {int(name.rpartition(":")[2]) for name in names} - killed
        for pid in sorted(pids)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return bool(pids)

    for number in range(COUNT):
        send_event("patient-child", {"number": number})
        if number % (COUNT // KILLS) == 0:
            eventually(lambda: kill_one() or not busy.exists(), 40)
    eventually(lambda: not family.filter(published_at=None).exists(), 25)  # a lease lasts longer
    run = wait_until_published(result)
    assert killed
    assert (run.state, run.crashes) == (RunState.COMPLETED, 0)
    assert run.output == str(list(range(COUNT))).replace(" ", "")
    assert History.objects.filter(run=parent, verb="wake").count() == 1
    assert History.objects.filter(run__in=ids, verb="complete").count() == COUNT
