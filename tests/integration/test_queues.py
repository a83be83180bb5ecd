"""Durable queues in real workers: one run's end starts the next, and no death leaks a slot."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.result import AsyncResult
from django.conf import settings as django_settings
from django.test import override_settings

from support.celery_states import run_of, value_of, wait_for_run
from support.queue_monitor import QueueMonitor, monitored
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.celery import app
from testproject.shop.tasks import linear, waiter, with_hold, with_long_lease
from trigger_celery import send_event
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models

PLACE = ("redis", "redis")
QUEUE = "integration"
LIMIT = 2
pytestmark = pytest.mark.requires("redis")

Start = Callable[..., Worker]


@pytest.fixture
def monitor(place: Site) -> Iterator[QueueMonitor]:
    with monitored("default", QUEUE) as monitor:
        yield monitor
    models.Slot.objects.all().delete()
    models.DurableQueue.objects.all().delete()


@pytest.fixture
def start(place: Site, monitor: QueueMonitor) -> Iterator[Start]:
    """Start a worker that knows a queue with a limit; this process knows it too."""
    started: list[Worker] = []

    def start(limit: int = LIMIT, **settings: Any) -> Worker:
        worker = place.start(concurrency=8, QUEUES=declared(limit), **settings)
        started.append(worker)
        worker.wait_until_ready()
        return worker

    own = {**django_settings.TRIGGER_CELERY, "QUEUES": declared(LIMIT), "NUDGE_INTERVAL": 60}
    with override_settings(TRIGGER_CELERY=own):
        installed_engine().stored_queues.forget()
        sync_declared(installed_engine())
        yield start
        for worker in started:
            worker.kill()
    installed_engine().stored_queues.forget()


def declared(limit: int) -> dict[str, dict[str, int]]:
    return {QUEUE: {"concurrency_limit": limit}}


def enter(task: Any, *args: object, queue: str = QUEUE) -> AsyncResult[Any]:
    """Start a run in the queue."""
    handle = task.options(queue=queue).trigger(*args)
    return app.AsyncResult(str(handle.id))


def enter_all(count: int, task: Any, *args: object) -> list[AsyncResult[Any]]:
    return [enter(task, *args) for _ in range(count)]


def pid_of(run: Run) -> int:
    return int(run.worker.rpartition(":")[2])


def executing(results: list[AsyncResult[Any]]) -> list[Run]:
    return [run for run in map(run_of, results) if run.state is RunState.EXECUTING]


def check_no_slot_is_left(monitor: QueueMonitor) -> None:
    """Check that no run holds a slot or waits, and that a cleanup leaves nothing."""
    store = installed_engine().store
    assert monitor.count(QUEUE).running == 0
    assert list(store.queues.loads()) == []
    while store.queues.clean_up(limit=100):
        pass
    assert models.Slot.objects.count() == 0


def test_thirty_runs_need_no_sweep_and_not_one_message_more_than_starts(
    place: Site, start: Start, monitor: QueueMonitor
) -> None:
    worker = start(SWEEPER="command", NUDGE_INTERVAL=60)
    results = enter_all(30, linear, 1)
    assert [value_of(result) for result in results] == [2] * 30
    count = monitor.count(QUEUE)
    assert (count.begun, count.peak) == (30, LIMIT)
    received = re.findall(r"Task linear\[\S+\] received", worker.log.read_text())
    assert len(received) == 30, "a message for each start, and none that found no slot"
    check_no_slot_is_left(monitor)


def test_a_pool_process_that_is_killed_gives_its_slot_back(
    place: Site, start: Start, monitor: QueueMonitor
) -> None:
    start()
    barrier = place.hold("killed")
    results = enter_all(5, with_hold, "killed")
    eventually(lambda: monitor.count(QUEUE).running == LIMIT)
    (victim, _) = executing(results)
    os.kill(pid_of(victim), signal.SIGKILL)
    eventually(lambda: monitor.count(QUEUE).begun == LIMIT + 1, what="its slot is taken again")
    eventually(lambda: monitor.count(QUEUE).running == LIMIT)
    barrier.unlink()
    assert [value_of(result) for result in results] == ["killed"] * 5
    assert monitor.count(QUEUE).peak == LIMIT
    assert [run_of(result).crashes for result in results].count(1) == 1
    check_no_slot_is_left(monitor)


def test_a_whole_worker_that_is_killed_gives_its_slots_back_with_its_leases(
    place: Site, start: Start, monitor: QueueMonitor
) -> None:
    worker = start()
    barrier = place.hold("worker")
    results = enter_all(5, with_hold, "worker")
    eventually(lambda: monitor.count(QUEUE).running == LIMIT)
    worker.kill()
    start()
    assert monitor.count(QUEUE).peak == LIMIT
    eventually(lambda: monitor.count(QUEUE).begun == LIMIT * 2, what="both slots are taken again")
    barrier.unlink()
    assert [value_of(result) for result in results] == ["worker"] * 5
    assert monitor.count(QUEUE).peak == LIMIT
    check_no_slot_is_left(monitor)


def test_the_slot_of_a_canceled_run_is_free_while_its_body_is_still_there(
    place: Site, start: Start, monitor: QueueMonitor
) -> None:
    start(SWEEPER="command")
    barrier = place.hold("canceled")
    results = enter_all(3, with_long_lease, "canceled")
    eventually(lambda: monitor.count(QUEUE).running == LIMIT)
    (victim, _) = executing(results)
    run_control.cancel(installed_engine(), victim.id)
    eventually(lambda: monitor.count(QUEUE).begun == LIMIT + 1, what="its slot is taken")
    barrier.unlink()
    left = [result for result in results if result.id != str(victim.id)]
    assert [value_of(result) for result in left] == ["canceled"] * 2
    assert monitor.count(QUEUE).peak == LIMIT
    check_no_slot_is_left(monitor)


def test_a_run_that_waits_holds_no_slot_and_takes_one_again(
    start: Start, monitor: QueueMonitor
) -> None:
    start()
    results = [enter(waiter, f"queue-{number}") for number in range(6)]
    for result in results:
        wait_for_run(result, RunState.SUSPENDED)
    for number in range(6):
        send_event("go", {"key": f"queue-{number}", "n": number})
    assert [value_of(result) for result in results] == list(range(6))
    count = monitor.count(QUEUE)
    assert count.begun == 12
    assert count.peak <= LIMIT
    check_no_slot_is_left(monitor)


def test_a_queue_that_code_renames_drains_under_its_old_limit(
    place: Site, start: Start, monitor: QueueMonitor
) -> None:
    start().kill()
    old = enter_all(6, linear, 1)
    renamed = {"renamed": {"concurrency_limit": 1}}
    worker = place.start(QUEUES=renamed)
    worker.wait_until_ready()
    with override_settings(TRIGGER_CELERY={**django_settings.TRIGGER_CELERY, "QUEUES": renamed}):
        sync_declared(installed_engine())
        new = [enter(linear, 2, queue="renamed") for _ in range(4)]
        assert [value_of(result) for result in old + new] == [2] * 6 + [3] * 4
    worker.kill()
    assert monitor.count(QUEUE).begun == 6
    assert monitor.count(QUEUE).peak <= LIMIT
    check_no_slot_is_left(monitor)
