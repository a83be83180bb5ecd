"""Runs that end by their deadlines: Celery's results of them end too."""

from __future__ import annotations

import pytest

from support.celery_states import run_of, wait_for_run
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.shop.tasks import linear, tagged_error, waiter, with_hold
from trigger_celery.errors import RunExpired, RunTimedOut
from trigger_celery.vocabulary.states import RunState

pytestmark = [
    pytest.mark.requires("redis"),
    pytest.mark.usefixtures("worker"),
    pytest.mark.parametrize("place", [("redis", "redis")], indirect=True, ids=["redis"]),
]


def test_the_result_of_a_run_that_timed_out_while_it_waited_is_a_failure(
    place: Site, worker: Worker
) -> None:
    tag = f"timed-out-{place.results}"
    result = waiter.apply_async(("never",), max_duration=1, link_error=tagged_error.s(tag=tag))
    wait_for_run(result, RunState.TIMED_OUT)
    with pytest.raises(RunTimedOut, match="not over within its max_duration of 0:00:01"):
        result.get(timeout=30)
    assert result.state == "FAILURE"
    eventually(lambda: place.effects(tag) == ["errback"])


def test_the_result_of_a_run_that_no_worker_started_in_time_is_a_failure(
    place: Site, worker: Worker
) -> None:
    result = linear.apply_async((1,), ttl=0.001, countdown=1)
    wait_for_run(result, RunState.EXPIRED)
    with pytest.raises(RunExpired, match="not started within its ttl"):
        result.get(timeout=30)
    assert run_of(result).started_at is None
    assert place.effects(result.id) == []


def test_an_executing_run_that_times_out_does_nothing_after_its_step(
    place: Site, worker: Worker
) -> None:
    name = f"slow-{place.results}"
    barrier = place.hold(name)
    result = with_hold.apply_async((name,), max_duration=2)
    wait_for_run(result, RunState.TIMED_OUT)
    barrier.unlink()
    with pytest.raises(RunTimedOut):
        result.get(timeout=30)
    assert place.effects(result.id) == ["first", f"held-{name}"]
