"""The database restarts and cuts connections: what was done is not done again."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from support.chaos import ALIAS, LONG, Stage
from testproject.chaos import ledger, ledger_waiter, patient_hold
from testproject.shop.tasks import linear, plain_errback, plain_link, sleeper
from trigger_celery import send_event

pytestmark = pytest.mark.chaos

UNDER_FIRE = 60 if LONG else 5
"""Seconds for which connections are cut."""


def test_a_step_that_ends_after_the_database_was_restarted_is_recorded_once(stage: Stage) -> None:
    stage.start("one")
    stage.hold("a")
    run = stage.trigger(patient_hold, "a", link=plain_link.s())
    stage.wait_effect("held-a")
    stage.postgres.restart()
    stage.release("a")

    stage.finish()
    assert stage.result(run) == "a"
    stage.check_counts(run, {"first": 1, "held-a": 1, "stored": 1, "last": 1})
    assert stage.balance(run, "stored") == (1, 1)
    assert stage.counts("-") == {"link a": 1}
    assert stage.run(run).crashes == 0


def test_a_step_whose_end_finds_no_database_keeps_its_result_until_there_is_one(
    stage: Stage,
) -> None:
    (worker,) = stage.start("one")
    stage.hold("a")
    run = stage.trigger(patient_hold, "a")
    stage.wait_effect("held-a")
    with stage.postgres.away():
        stage.release("a")
        stage.wait_said(worker, "the database is away")

    stage.finish()
    assert stage.result(run) == "a"
    stage.check_counts(run, {"first": 1, "held-a": 1, "stored": 1, "last": 1})
    assert stage.balance(run, "stored") == (1, 1)
    assert stage.run(run).crashes == 0


def test_a_result_that_was_cut_off_does_not_make_a_failure_of_a_success(stage: Stage) -> None:
    stage.start("one", fault="cut-at-result")
    run = stage.trigger(linear, 1, link=plain_link.s(), link_error=plain_errback.s())

    stage.wait_effect("link 2")
    stage.finish()
    assert stage.folder.joinpath("died").exists()
    assert stage.result(run) == 2
    assert stage.celery_states(run) == ["SUCCESS"]
    assert stage.counts("-") == {"link 2": 1}


def test_runs_finish_while_all_connections_are_cut_again_and_again(stage: Stage) -> None:
    stage.start("one", "two")
    ledgers = [stage.trigger(ledger, amount) for amount in range(10)]
    sleepers = [stage.trigger(sleeper, 1) for _ in range(10)]
    waiters = [stage.trigger(ledger_waiter, f"k-{n}", n) for n in range(10)]
    for number in range(10):
        send_event("go", {"key": f"k-{number}", "n": number})
    cut = _cut_connections(stage, seconds=UNDER_FIRE)

    stage.finish()
    assert cut > 0
    assert [stage.result(run) for run in sleepers] == ["slept"] * 10
    assert [stage.result(run) for run in ledgers] == [0] * 10
    assert [stage.result(run) for run in waiters] == list(range(10))
    for run in stage.runs:
        assert stage.celery_states(run) == ["SUCCESS"], stage.verbs(run)
        recoveries = stage.verbs(run).count("recover")
        for name, times in stage.counts(run).items():
            # A transaction that was cut is repeated with the body it is shared with.
            assert name == "moved" or times <= 1 + recoveries, (run, name)
    for run in (*ledgers, *waiters):
        assert stage.balance(run) == (2, 0)


def _cut_connections(stage: Stage, *, seconds: float) -> int:
    """End all other backends every 200 ms; return how many there were."""
    cut = 0
    pause = threading.Event()
    for _ in range(int(seconds / 0.2)):
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            cut += cursor.fetchone()[0]
        pause.wait(0.2)
    return cut
