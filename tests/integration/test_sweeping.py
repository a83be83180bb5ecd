"""Timers end whichever process starts the sweep: a worker's own timer, beat, or the command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from support.celery_states import run_of, value_of, wait_for_run
from support.databases import TESTS
from support.waiting import eventually
from support.workers import Site, queue
from testproject.celery import app
from testproject.shop.tasks import nap, plain_half_second
from trigger_celery.celery.worker.bootsteps import ENTRY
from trigger_celery.celery.worker.own_tasks import SWEEP
from trigger_celery.client.installed import installed_engine
from trigger_celery.vocabulary.states import RunState

PLACE = ("redis", "django-db")
pytestmark = pytest.mark.requires("redis")


def command(*arguments: str) -> list[str]:
    """Return the command line of a management command."""
    return [sys.executable, "-m", "django", *arguments]


def entries(schedule: dict[str, object]) -> list[str]:
    """Return the names of a beat schedule's entries after an app with it was set up."""
    other = Celery("other", set_as_current=False)
    other.conf.beat_schedule = schedule
    other.finalize()
    return list(other.conf.beat_schedule)


def test_beat_has_the_sweep_exactly_once() -> None:
    app.finalize()
    tasks = [entry["task"] for entry in app.conf.beat_schedule.values()]
    assert tasks.count(SWEEP) == 1
    assert entries({}) == [ENTRY]


def test_an_entry_of_ones_own_is_respected() -> None:
    own = {"mine": {"task": SWEEP, "schedule": 7.0}}
    assert entries(dict(own)) == ["mine"]


def test_a_worker_of_another_queue_than_the_default_one_sweeps_for_itself(place: Site) -> None:
    worker = place.start(queues="other")
    worker.wait_until_ready()
    result = nap.apply_async((1,), queue=queue("other"))
    assert value_of(result) == 2
    worker.kill()


def test_a_workers_timer_ends_sleeps_without_beat(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    assert value_of(nap.delay(1)) == 2
    worker.kill()


def test_timers_end_while_the_queue_of_runs_has_a_long_backlog(place: Site) -> None:
    worker = place.start(concurrency=1)
    worker.wait_until_ready()
    result = nap.delay(1)
    wait_for_run(result, RunState.SUSPENDED)
    for _ in range(60):  # half a minute of work: longer than a sweep message lives
        plain_half_second.delay()
    eventually(lambda: run_of(result).state is not RunState.SUSPENDED, what="the timer's end")
    worker.kill()


def test_beat_ends_sleeps_without_the_workers_timer(place: Site) -> None:
    schedule = str(place.folder / "beat")
    worker = place.start("-B", "-s", schedule, SWEEP_ON_WORKER=False)
    worker.wait_until_ready()
    assert value_of(nap.delay(1)) == 2
    worker.kill()


def test_the_command_makes_one_pass(place: Site) -> None:
    place.purge()  # only the command sweeps, also for a beat that was killed
    worker = place.start(SWEEP_ON_WORKER=False)
    worker.wait_until_ready()
    result = nap.delay(1)
    due_at = wait_for_run(result, RunState.SUSPENDED).due_at
    assert due_at is not None
    eventually(lambda: installed_engine().store.now() > due_at)
    done = subprocess.run(
        command("trigger_sweep"),
        env=place.environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "1 runs and events looked at\n"
    assert value_of(result) == 2
    worker.kill()


def test_the_command_in_a_loop_ends_sleeps_until_a_signal_stops_it(place: Site) -> None:
    worker = place.start(SWEEP_ON_WORKER=False)
    log = (place.folder / "loop").open("wb")
    with log:
        loop = subprocess.Popen(
            command("trigger_sweep", "--loop"),
            env=place.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        worker.wait_until_ready()
        result = nap.delay(1)
        assert value_of(result) == 2
        assert run_of(result).fence == 2
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(10) == 0
        assert Path(log.name).read_text() == ""
    finally:
        loop.kill()
        loop.wait()
        worker.kill()


def test_the_project_passes_its_own_checks(place: Site) -> None:
    done = subprocess.run(
        command("check", "--database", "default", "--fail-level", "WARNING"),
        env=place.environment(),
        capture_output=True,
        cwd=TESTS.parent,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
