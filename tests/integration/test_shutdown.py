"""Workers come and go under runs: deployments, lost children, time limits."""

from __future__ import annotations

import os
import signal

import pytest

from support.celery_states import run_of, value_of, wait_until_published
from support.waiting import eventually
from support.workers import Site
from testproject.shop.tasks import limited, tagged, tagged_error, with_hold, with_long_lease
from trigger_celery.vocabulary.states import RunState

PLACE = ("redis", "redis")
pytestmark = pytest.mark.requires("redis")


def test_a_warm_shutdown_hands_its_run_to_another_worker(place: Site) -> None:
    leaving = place.start(concurrency=1)
    leaving.wait_until_ready()
    barrier = place.hold("deploy")
    result = with_hold.apply_async(("deploy",), link=tagged.s("deploy-link"))
    eventually(lambda: "held-deploy" in place.effects(result.id))
    leaving.tell_to_stop()
    eventually(lambda: "Warm shutdown" in leaving.output())
    staying = place.start(concurrency=1)
    staying.wait_until_ready()
    barrier.unlink()
    assert value_of(result) == "deploy"
    eventually(lambda: place.effects("deploy-link"))
    assert leaving.process.wait(15) == 0
    assert place.effects(result.id) == ["first", "held-deploy", "stored", "last"]
    pids = place.pids(result.id)
    assert pids[0] == pids[1] != pids[2] == pids[3]
    run = wait_until_published(result)
    assert (run.crashes, run.attempt, run.fence) == (0, 1, 2)
    assert place.effects("deploy-link") == ["deploy"]
    staying.kill()


def test_a_cold_shutdown_reports_no_retry_and_the_run_goes_on_elsewhere(place: Site) -> None:
    leaving = place.start(concurrency=1)
    leaving.wait_until_ready()
    barrier = place.hold("cold")
    result = with_long_lease.delay("cold")
    eventually(lambda: "held-cold" in place.effects(result.id))
    leaving.process.send_signal(signal.SIGQUIT)
    leaving.process.wait(15)
    assert result.state == "PENDING"
    barrier.unlink()
    staying = place.start(concurrency=1)
    staying.wait_until_ready()
    assert value_of(result) == "cold"
    assert place.effects(result.id) == ["first", "held-cold", "held-cold", "last"]
    staying.kill()


def test_a_soft_shutdown_hands_its_run_to_another_worker_when_it_begins(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TC_SOFT_SHUTDOWN", "60")
    leaving = place.start(concurrency=1)
    leaving.wait_until_ready()
    monkeypatch.undo()
    barrier = place.hold("soft")
    result = with_hold.delay("soft")
    eventually(lambda: "held-soft" in place.effects(result.id))
    leaving.process.send_signal(signal.SIGQUIT)
    eventually(lambda: "Initiating Soft Shutdown" in leaving.output())
    staying = place.start(concurrency=1)
    staying.wait_until_ready()
    barrier.unlink()
    assert value_of(result) == "soft"
    assert leaving.process.poll() is None, "its time was over"
    pids = place.pids(result.id)
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert (run_of(result).crashes, run_of(result).fence) == (0, 2)
    leaving.kill()
    staying.kill()


def test_a_killed_child_is_no_failure_of_its_run(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    barrier = place.hold("killed")
    result = with_long_lease.apply_async(
        ("killed",), link=tagged.s("killed-link"), link_error=tagged_error.s(tag="killed-error")
    )
    eventually(lambda: "held-killed" in place.effects(result.id))
    os.kill(place.pids(result.id)[1], signal.SIGKILL)
    eventually(lambda: place.effects(result.id).count("held-killed") == 2, 25)
    barrier.unlink()
    assert value_of(result) == "killed"
    eventually(lambda: place.effects("killed-link"))
    run = wait_until_published(result)
    assert (run.state, run.crashes, run.attempt) == (RunState.COMPLETED, 1, 1)
    assert place.effects(result.id) == ["first", "held-killed", "held-killed", "last"]
    assert (place.effects("killed-link"), place.effects("killed-error")) == (["killed"], [])
    worker.kill()


def test_a_hard_time_limit_takes_the_run_from_its_child(place: Site) -> None:
    worker = place.start()
    worker.wait_until_ready()
    barrier = place.hold("limit")
    result = limited.apply_async(("limit",), link_error=tagged_error.s(tag="limit-error"))
    assert value_of(result) == "survived"
    barrier.unlink()
    assert run_of(result).crashes == 1
    assert place.effects(result.id) == ["tried", "tried"]
    assert place.effects("limit-error") == []
    worker.kill()
