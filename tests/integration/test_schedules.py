"""A worker's own sweep fires schedules, and the runs are executed and know their times."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery.result import AsyncResult

from support.celery_states import LIMIT, value_of
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.shop.tasks import linear
from trigger_celery import create_schedule, delete_schedule
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.runs.origins import scheduled_run
from trigger_celery_django.models import Run

PLACE = ("redis", "django-db")
pytestmark = pytest.mark.requires("redis")


def test_a_worker_fires_a_schedule_each_time_once(place: Site, worker: Worker) -> None:
    create_schedule(linear, key="often", every=timedelta(seconds=1), args=[1], overlap="allow")
    eventually(lambda: Run.objects.count() >= 3, LIMIT, "three runs are started")
    delete_schedule("often")
    codec = installed_engine().codec
    scheduled_runs = []
    for run in Run.objects.all():
        assert value_of(AsyncResult(str(run.pk))) == 2
        scheduled = scheduled_run(codec, run.origin)
        assert scheduled is not None
        scheduled_runs.append(scheduled)
        assert run.canvas == ""  # it is not a child of the message that swept
    times = sorted(each.nominal_at for each in scheduled_runs)
    assert times == [times[0] + timedelta(seconds=index) for index in range(len(times))]
    assert {each.key for each in scheduled_runs} == {"often"}
