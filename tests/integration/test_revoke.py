"""Celery's revoke cancels a run wherever it is, and nothing that waits for the run hangs."""

from __future__ import annotations

from uuid import uuid4

import pytest
from celery import chord

from support.celery_states import run_of, value_of, wait_for_run, wait_for_state
from support.waiting import eventually
from support.workers import Site, Worker
from testproject.shop.tasks import linear, tagged_error, tagged_sum, waiter, with_hold
from trigger_celery.vocabulary.states import RunState

pytestmark = [
    # An app that is pointed at another backend in mid-process drops the control mailbox's socket.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.requires("redis"),
    pytest.mark.usefixtures("worker"),
    pytest.mark.parametrize(
        "place", [("redis", "redis"), ("redis", "django-db")], indirect=True, ids=["redis", "orm"]
    ),
]


def test_a_queued_run_is_canceled(place: Site, worker: Worker) -> None:
    result = linear.apply_async((1,), countdown=60)
    result.revoke()
    wait_for_run(result, RunState.CANCELED)
    wait_for_state(result, "REVOKED")
    assert place.effects(result.id) == []


def test_a_suspended_run_is_canceled(place: Site, worker: Worker) -> None:
    result = waiter.delay(str(uuid4()))
    wait_for_state(result, "SUSPENDED")
    result.revoke()
    wait_for_run(result, RunState.CANCELED)
    wait_for_state(result, "REVOKED")
    assert place.effects(result.id) == ["first"]


def test_an_executing_run_is_left_at_its_next_boundary(place: Site, worker: Worker) -> None:
    name = f"revoked-{place.results}"
    barrier = place.hold(name)
    result = with_hold.delay(name)
    eventually(lambda: f"held-{name}" in place.effects(result.id))
    result.revoke()
    wait_for_run(result, RunState.CANCELED)
    barrier.unlink()
    wait_for_state(result, "REVOKED")
    value_of(linear.delay(1))
    assert place.effects(result.id) == ["first", f"held-{name}"]
    wait_for_state(result, "REVOKED")


def test_a_terminated_run_is_canceled_and_its_worker_replaced(place: Site, worker: Worker) -> None:
    name = f"terminated-{place.results}"
    barrier = place.hold(name)
    result = with_hold.delay(name)
    eventually(lambda: f"held-{name}" in place.effects(result.id))
    result.revoke(terminate=True)
    wait_for_run(result, RunState.CANCELED)
    wait_for_state(result, "REVOKED")
    assert value_of(linear.delay(1)) == 2
    barrier.unlink()
    assert place.effects(result.id) == ["first", f"held-{name}"]


def test_a_chord_with_a_revoked_member_fails_and_does_not_hang(place: Site, worker: Worker) -> None:
    tag = f"revoked-chord-{place.results}"
    body = tagged_sum.s(tag).on_error(tagged_error.s(tag=tag))
    waits = waiter.s(str(uuid4()))
    member = waits.freeze()
    result = chord([linear.s(1), waits], body)()
    wait_for_state(member, "SUSPENDED")
    member.revoke()
    wait_for_state(result, "FAILURE")
    eventually(lambda: place.effects(tag))
    assert run_of(member).state is RunState.CANCELED
    assert place.effects(tag) == ["errback"]


def test_an_expired_message_of_a_plain_task_cancels_nothing(place: Site, worker: Worker) -> None:
    own = str(uuid4())
    run = waiter.apply_async((own,), task_id=own)
    wait_for_run(run, RunState.SUSPENDED)
    tagged_sum.apply_async(([], own), task_id=own, expires=0.000001)
    eventually(lambda: f"Discarding revoked task: tagged-sum[{own}]" in worker.output())
    later = "ffffffff" + str(uuid4())[8:]  # ids are handled in order
    revoked = linear.apply_async((1,), countdown=60, task_id=later)
    revoked.revoke()
    wait_for_run(revoked, RunState.CANCELED)
    assert run_of(run).state is RunState.SUSPENDED
