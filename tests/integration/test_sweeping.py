"""Wherever the sweeper lives, timers end: beside a worker, in beat, or in the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from support.celery_states import run_of, value_of, wait_for_run
from support.databases import TESTS
from support.waiting import eventually
from support.workers import Site, Worker, queue
from testproject.celery import app
from testproject.shop.tasks import linear, nap, with_hold
from trigger_celery.celery.worker.sweeping import PROCESS
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.states import RunState

PLACE = ("redis", "django-db")
pytestmark = pytest.mark.requires("redis")


@pytest.fixture(autouse=True)
def alone(place: Site) -> Iterator[None]:
    """Leave no worker of a failed test behind: it would sweep for those of the next one."""
    yield
    for worker in place.workers:
        worker.kill()


def wait_for_turn() -> None:
    """Return once no sweeper that was killed has the turn any more."""
    sweeps = installed_engine().store.sweeps
    eventually(lambda: sweeps.elect("test", length=timedelta(seconds=1)).sweeper == "test")
    sweeps.resign("test")


def command(*arguments: str) -> list[str]:
    """Return the command line of a management command."""
    return [sys.executable, "-m", "django", *arguments]


def test_a_worker_of_another_queue_than_the_default_one_sweeps_for_itself(place: Site) -> None:
    worker = place.start(queues="other")
    worker.wait_until_ready()
    result = nap.apply_async((1,), queue=queue("other"))
    assert value_of(result) == 2
    worker.kill()


def children(worker: Worker) -> dict[int, str]:
    """Return the command lines of the processes that a worker's main process has started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == worker.pid:
                found[int(folder.name)] = (folder / "cmdline").read_text()
    return found


def sweepers(worker: Worker) -> list[int]:
    """Return the ids of the processes beside the pool of a worker."""
    return [pid for pid, command in children(worker).items() if PROCESS in command]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_workers_sweeper_ends_sleeps_without_beat(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    assert value_of(nap.delay(1)) == 2
    (pid,) = sweepers(worker)
    worker.tell_to_stop()
    worker.process.wait(40)
    assert not is_alive(pid)


def test_an_idle_worker_gets_no_message_and_executes_no_task(place: Site) -> None:
    worker = place.start("--max-tasks-per-child", "1")
    worker.wait_until_ready()
    eventually(lambda: "sweeps from now on" in worker.output())
    before = children(worker).keys()
    with app.connection_for_read() as connection:
        state = app.events.State()
        receiver = app.events.Receiver(connection, handlers={"*": state.event})
        app.control.enable_events()
        with suppress(TimeoutError):
            receiver.capture(limit=None, timeout=2, wakeup=False)  # ten intervals of the sweep
    assert state.task_count == 0
    assert children(worker).keys() == before
    worker.kill()


def test_timers_end_while_every_slot_is_busy(place: Site) -> None:
    worker = place.start(concurrency=1)
    worker.wait_until_ready()
    result = nap.delay(4)
    wait_for_run(result, RunState.SUSPENDED)
    barrier = place.hold("slot")
    busy = with_hold.delay("slot")
    wait_for_run(busy, RunState.EXECUTING)
    late = linear.options(ttl=1).trigger(1)
    eventually(lambda: run_of(result).state is RunState.QUEUED, what="the timer's end")
    eventually(lambda: late.state() is RunState.EXPIRED, what="the end of the run's ttl")
    assert run_of(busy).state is RunState.EXECUTING
    barrier.unlink()
    assert value_of(result) == 5
    worker.kill()


def test_a_killed_sweeper_is_replaced(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    eventually(lambda: "sweeps from now on" in worker.output())
    (pid,) = sweepers(worker)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: sweepers(worker) not in ([], [pid]), what="another process")
    assert value_of(nap.delay(1)) == 2
    worker.kill()


def test_a_sweeper_ends_with_its_worker_also_if_that_is_killed(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    eventually(lambda: "sweeps from now on" in worker.output())
    (pid,) = sweepers(worker)
    worker.process.kill()  # and not its group
    worker.process.wait(10)
    eventually(lambda: not is_alive(pid), what="the sweeper's end")
    worker.kill()


def test_of_two_workers_one_sweeps_and_the_other_follows(place: Site) -> None:
    first = place.start()
    first.wait_until_ready()
    eventually(lambda: "sweeps from now on" in first.output())
    second = place.start()
    second.wait_until_ready()
    eventually(lambda: "stands by" in second.output())
    assert "sweeps from now on" not in second.output()
    first.kill()
    assert value_of(nap.delay(1)) == 2
    assert second.output().count("sweeps from now on") == 1
    second.kill()


def test_an_embedded_beat_sweeps_in_its_own_process(place: Site) -> None:
    worker = place.start("-B", "-s", str(place.folder / "embedded"))
    worker.wait_until_ready()
    assert value_of(nap.delay(1)) == 2
    assert "(beat, " in worker.output()
    assert sweepers(worker) == []
    worker.kill()


def test_a_beat_of_its_own_sweeps(place: Site) -> None:
    worker = place.start(SWEEPER="beat")
    worker.wait_until_ready()
    assert sweepers(worker) == []
    log = (place.folder / "beat.log").open("wb")
    with log:
        beat = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "testproject.celery", "beat", "-l", "INFO"]
            + ["-s", str(place.folder / "alone"), "--pidfile", ""],
            env=place.environment(SWEEPER="beat"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        assert value_of(nap.delay(1)) == 2
        beat.terminate()
        assert beat.wait(20) == 0
        sweeps = installed_engine().store.sweeps
        assert sweeps.elect("test", length=timedelta(seconds=1)).sweeper == "test"
        sweeps.resign("test")
    finally:
        beat.kill()
        beat.wait()
        worker.kill()
    said = Path(log.name).read_text()
    assert said.count("sweeps from now on") == 1
    assert "Sending due task" not in said


def test_the_command_makes_one_pass(place: Site) -> None:
    place.purge()  # only the command sweeps, also for a beat that was killed
    worker = place.start(SWEEPER="command")
    worker.wait_until_ready()
    result = nap.delay(1)
    due_at = wait_for_run(result, RunState.SUSPENDED).due_at
    assert due_at is not None
    eventually(lambda: installed_engine().store.now() > due_at)
    wait_for_turn()
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
    worker = place.start(SWEEPER="command")
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
