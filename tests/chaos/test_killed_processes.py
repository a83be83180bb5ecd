"""A process that executes a run is killed: the run goes on elsewhere."""

from __future__ import annotations

import os
import signal

import pytest
from celery import chord

from support.chaos import Stage
from testproject.chaos import ledger, patient_hold, poison, zombie
from testproject.shop.tasks import (
    linear,
    plain_errback,
    plain_link,
    plain_sum,
    waiter,
    with_hold,
)
from trigger_celery import send_event
from trigger_celery.vocabulary.states import DeadLetterState, RunState

pytestmark = pytest.mark.chaos

HELD_TWICE = {"first": 1, "held-a": 2, "stored": 1, "last": 1}


def test_a_killed_pool_child_costs_its_step_only_and_is_noticed_at_once(stage: Stage) -> None:
    stage.start("one")
    stage.hold("a")
    run = stage.trigger(patient_hold, "a", link=plain_link.s(), link_error=plain_errback.s())
    (line,) = stage.wait_effect("held-a")
    os.kill(line.pid, signal.SIGKILL)
    stage.release("a")

    # Its lease would have lasted five minutes.
    stage.wait_state(run, RunState.COMPLETED, within=30)
    stage.wait_effect("link a")
    stage.finish()
    assert stage.result(run) == "a"
    stage.check_counts(run, HELD_TWICE)
    assert stage.counts("-") == {"link a": 1}
    assert stage.run(run).crashes == 1
    assert stage.celery_states(run) == ["SUCCESS"]


def test_a_child_killed_in_an_atomic_step_leaves_no_row_of_it(stage: Stage) -> None:
    stage.start("one")
    stage.hold("a-1")
    run = stage.trigger(zombie, "a", True)
    (line,) = stage.wait_effect("fenced 1")
    os.kill(line.pid, signal.SIGKILL)

    stage.finish()
    assert stage.result(run) == 2
    assert stage.balance(run, "fenced_atomic") == (1, 2)


def test_a_killed_worker_loses_its_lease_and_another_one_finishes(stage: Stage) -> None:
    stage.start("one", "two")
    stage.hold("a")
    run = stage.trigger(with_hold, "a", link=plain_link.s(), link_error=plain_errback.s())
    (line,) = stage.wait_effect("held-a")
    dead = stage.owner(line.pid)
    dead.kill()
    stage.release("a")

    stage.wait_effect("link a")
    stage.finish()
    stage.check_counts(run, HELD_TWICE)
    assert stage.counts("-") == {"link a": 1}
    assert "recover" in stage.verbs(run)
    assert not any(dead.owns(line.pid) for line in stage.lines() if line.name == "last")


def test_an_event_wakes_a_run_that_no_worker_was_alive_for(stage: Stage) -> None:
    (worker,) = stage.start("one")
    run = stage.trigger(waiter, "k", link=plain_link.s())
    stage.wait_state(run, RunState.SUSPENDED)
    worker.kill()
    send_event("go", {"key": "k", "n": 7})
    assert stage.run(run).state is RunState.QUEUED
    stage.start("two")

    stage.wait_effect("link 7")
    stage.finish()
    assert stage.result(run) == 7
    stage.check_counts(run, {"first": 1, "last": 1})
    assert stage.counts("-") == {"link 7": 1}
    assert stage.run(run).crashes == 0


@pytest.mark.parametrize(("fault", "links"), [("die-at-link", 1), ("die-at-result", 2)])
def test_a_run_that_ended_is_published_though_its_worker_died_before(
    stage: Stage, fault: str, links: int
) -> None:
    stage.start("one", fault=fault)
    run = stage.trigger(linear, 1, link=plain_link.s(), link_error=plain_errback.s())

    stage.wait_effect("link 2", links)
    stage.finish()
    assert stage.folder.joinpath("died").exists()
    assert stage.result(run) == 2
    stage.check_counts(run, {"first": 1, "last": 1})
    # Killed after its publication a plain Celery callback comes twice, never not at all.
    assert stage.counts("-") == {"link 2": links}
    assert stage.celery_states(run) == ["SUCCESS"]
    assert stage.verbs(run).count("complete") == 1


def test_a_run_that_kills_its_workers_ends_as_a_dead_letter_and_harms_no_other(
    stage: Stage,
) -> None:
    stage.start("one")
    bad = stage.trigger(poison, link=plain_link.s(), link_error=plain_errback.s())
    good = [stage.trigger(ledger, amount) for amount in range(20)]

    stage.wait_effect("errback")
    stage.finish()
    failed = stage.run(bad)
    assert failed.state is RunState.FAILED
    assert failed.crashes == 3
    assert "RunCrashed" in str(failed.error)
    stage.check_counts(bad, {"first": 1, "die": 3})
    dead_letters = stage.dead_letters()
    assert [(each.run_id, each.state) for each in dead_letters] == [(bad, DeadLetterState.OPEN)]
    assert stage.counts("-") == {"errback": 1}
    assert stage.celery_states(bad) == ["FAILURE"]
    for run in good:
        assert stage.result(run) == 0
        assert stage.balance(run) == (2, 0)


def test_two_poison_runs_on_a_pool_of_two_take_no_process_from_200_others(
    stage: Stage,
) -> None:
    stage.start("one", concurrency=2)
    bad = [stage.trigger(poison) for _ in range(2)]
    good = [stage.trigger(linear, number) for number in range(200)]

    stage.finish()
    for run in map(stage.run, bad):
        assert (run.state, run.crashes) == (RunState.FAILED, 3)
        assert "RunCrashed" in str(run.error)
    found = [stage.run(run) for run in good]  # each by one claim: none was taken from a dead worker
    assert {(run.state, run.crashes, run.fence) for run in found} == {(RunState.COMPLETED, 0, 1)}


def test_a_chord_is_called_once_though_a_member_lost_its_worker(stage: Stage) -> None:
    stage.start("one")
    stage.hold("a-1")
    members = [linear.s(1), zombie.s("a", False), linear.s(3)]
    chord(members, app=linear.app)(plain_sum.s())
    (line,) = stage.wait_effect("fenced 1")
    os.kill(line.pid, signal.SIGKILL)

    stage.wait_effect("sum 8")
    stage.finish()
    assert stage.counts("-") == {"sum 8": 1}
