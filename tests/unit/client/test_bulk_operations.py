"""Bulk operations from the first call to the last run, on the store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    RateLimit,
    RetryPolicy,
    abort_bulk,
    get_bulk,
    list_bulk,
    pause_bulk,
    plan_bulk,
    resume_bulk,
    retry_run,
    start_bulk,
)
from trigger_celery.client.access import Caller, acting
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import copies
from trigger_celery.engine.runs.bulk import size_of
from trigger_celery.errors import BulkOperationNotFound, InvalidOption, TriggerError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.bulk_changes import CHANGED
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun, Run
from trigger_celery.vocabulary.states import RunState

STAY = timedelta(0)


class Gateway:
    """A gateway that is away until it is mended, and a task that needs it."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.is_away = True
        self.calls: list[int] = []

        def pay(number: int) -> int:
            if self.is_away:
                raise ConnectionError("the gateway is away")
            self.calls.append(number)
            return number

        self.task = harness.task(pay, name="pay", retry=RetryPolicy(max_attempts=1))

    def fail(self, count: int) -> list[UUID]:
        """Return runs that have failed; the gateway is mended then."""
        ids = [self.harness.trigger(self.task, number) for number in range(count)]
        self.harness.run_until_idle(STAY)
        self.is_away = False
        return ids

    def states(self, ids: list[UUID]) -> set[RunState]:
        return {self.harness.stored(run_id).state for run_id in ids}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Harness() as harness:
        yield Gateway(harness)


def test_a_bulk_retry_finishes_each_failed_run_once(gateway: Gateway) -> None:
    ids = gateway.fail(7)
    operation = start_bulk("retry", task="pay", batch_size=3, by="ann", reason="gateway back")
    assert (operation.state, operation.planned, operation.by) == ("running", 7, "ann")
    gateway.harness.run_until_idle(STAY)
    after = get_bulk(operation.id)
    assert (after.state, after.done, dict(after.skipped), after.seen) == ("completed", 7, {}, 7)
    assert sorted(gateway.calls) == list(range(7))
    assert gateway.states(ids) == {RunState.COMPLETED}
    assert gateway.harness.result(operation.run_id) == {"batches": 3, "moved": 7}


def test_a_plan_says_what_would_be_done_and_does_nothing(gateway: Gateway) -> None:
    ids = gateway.fail(3)
    plan = plan_bulk("retry", everything=True, at_most=2)
    assert (plan.kind, plan.count, [each.count for each in plan.tasks]) == ("retry", 2, [3])
    gateway.harness.run_until_idle(STAY)
    assert (list_bulk(), gateway.states(ids)) == ([], {RunState.FAILED})


def test_a_paused_operation_goes_on_where_it_stopped(gateway: Gateway) -> None:
    gateway.fail(4)
    operation = start_bulk("retry", everything=True)
    assert not resume_bulk(operation.id)
    assert pause_bulk(str(operation.id))
    assert not pause_bulk(operation.id)
    gateway.harness.run_until_idle(STAY)
    assert (get_bulk(operation.id).seen, gateway.calls) == (0, [])
    assert resume_bulk(operation.id)
    gateway.harness.run_until_idle(STAY)
    assert (get_bulk(operation.id).done, sorted(gateway.calls)) == (4, [0, 1, 2, 3])
    assert not resume_bulk(operation.id)


def test_an_aborted_operation_leaves_the_rest_alone(gateway: Gateway) -> None:
    ids = gateway.fail(2)
    operation = start_bulk("retry", everything=True)
    assert abort_bulk(operation.id)
    assert not abort_bulk(operation.id)
    assert not resume_bulk(operation.id)
    gateway.harness.run_until_idle(STAY)
    assert (get_bulk(operation.id).state, gateway.states(ids)) == ("aborted", {RunState.FAILED})
    assert [each.id for each in list_bulk(state="aborted")] == [operation.id]
    assert list_bulk(state=["running"]) == []


def test_an_operation_whose_run_was_canceled_goes_on_in_another(gateway: Gateway) -> None:
    gateway.fail(2)
    operation = start_bulk("retry", everything=True)
    gateway.harness.cancel(operation.run_id)
    gateway.harness.run_until_idle(STAY)
    assert get_bulk(operation.id).state == "running"
    assert resume_bulk(operation.id)
    gateway.harness.run_until_idle(STAY)
    assert get_bulk(operation.id).done == 2


def test_a_rate_makes_pauses_that_hold_nothing_and_are_kept_after_them(gateway: Gateway) -> None:
    gateway.fail(4)
    operation = start_bulk("retry", everything=True, rate=RateLimit(1, per=60))
    began = gateway.harness.clock.now
    done = []
    for _ in range(9):
        gateway.harness.run_until_idle(STAY)
        done.append(get_bulk(operation.id).done)
        if get_bulk(operation.id).state != "running":
            break
        assert gateway.harness.stored(operation.run_id).state is RunState.SUSPENDED
        gateway.harness.advance(60)
    assert done == [1, 2, 3, 4, 4]
    assert gateway.harness.clock.now - began == timedelta(minutes=4)


def test_a_batch_has_the_runs_of_a_second_at_most_where_a_rate_holds(gateway: Gateway) -> None:
    sizes = {RateLimit(20, per=1): 20, RateLimit(1, per=60): 1, RateLimit(10_000, per=1): 500}
    for rate, size in sizes.items():
        assert size_of(start_bulk("cancel", everything=True, rate=rate)) == size


def test_a_batch_that_fails_is_tried_in_parts_and_a_bad_run_is_passed_over(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = gateway.fail(12)

    def copy_of(engine: Engine, source: Run, *, origin: str) -> NewRun:
        if source.id == ids[4]:
            raise ValueError("this one cannot be copied")
        return copies.copy_of(engine, source, origin=origin)

    monkeypatch.setattr("trigger_celery.engine.runs.bulk.copy_of", copy_of)
    operation = start_bulk("rerun", task="pay")
    gateway.harness.run_until_idle(STAY)
    after = get_bulk(operation.id)
    assert (after.state, after.done) == ("completed", 11)
    assert dict(after.failed) == {"ValueError: this one cannot be copied": 1}
    assert sorted(gateway.calls) == [number for number in range(12) if number != 4]


def test_runs_that_left_the_filter_are_counted_when_all_is_done(gateway: Gateway) -> None:
    ids = gateway.fail(3)
    operation = start_bulk("retry", everything=True)
    retry_run(ids[0])
    gateway.harness.run_until_idle(STAY)
    after = get_bulk(operation.id)
    assert (after.done, dict(after.skipped)) == (2, {CHANGED: 1})
    assert sorted(gateway.calls) == [0, 1, 2]


def test_a_worker_that_dies_between_batches_loses_and_repeats_nothing(gateway: Gateway) -> None:
    """The cursor moves with the runs: another segment goes on behind what was committed."""
    ids = gateway.fail(9)
    operation = start_bulk("retry", everything=True, batch_size=2)
    engine = gateway.harness.engine
    verb = engine.patient.bulk_operations.carry_out
    given: dict[str, Any] = {"limit": 2, "error": "", "copy": copy_nothing}
    for _ in range(3):  # committed by a worker that died before it said a word
        verb(operation.id, operation.run_id, **given)
    gateway.harness.run_until_idle(timedelta(minutes=1))
    assert (get_bulk(operation.id).done, sorted(gateway.calls)) == (9, list(range(9)))
    assert gateway.states(ids) == {RunState.COMPLETED}


def copy_nothing(run: Run) -> NewRun:
    raise AssertionError(run)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("retry", {}, "either a filter, or everything=True"),
        ("retry", {"task": "pay", "everything": True}, "either a filter, or everything=True"),
        ("retri", {"everything": True}, "did you mean 'retry'"),
        ("retry", {"state": "queued"}, "cannot retry runs that are queued"),
        ("cancel", {"state": ["failed", "queued"]}, "cannot cancel runs that are failed"),
        ("retry", {"ids": []}, "name at least one run"),
        ("retry", {"ids": [new_id() for _ in range(10_001)]}, "at most 10,000 ids"),
        ("retry", {"taks": "pay"}, "no filter 'taks'"),
        ("retry", {"everything": True, "at_most": 0}, "at_most"),
        ("retry", {"everything": True, "batch_size": 5_001}, "batch_size"),
        ("retry", {"everything": True, "batch_size": True}, "batch_size"),
        ("retry", {"everything": True, "rate": "20/s"}, "a RateLimit"),
        ("retry", {"everything": True, "priority": 3}, "takes no priority="),
        ("prioritize", {"everything": True}, "needs priority="),
        ("prioritize", {"everything": True, "priority": 2**60}, "priority"),
        ("move", {"everything": True}, "needs to_queue="),
        ("move", {"everything": True, "to_queue": "*"}, "to_queue"),
        ("retry", {"everything": True, "reason": "two\nlines"}, "one line"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_stored(
    gateway: Gateway, kind: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TriggerError) as caught:
        start_bulk(kind, **options)
    assert said in str(caught.value)
    assert list_bulk() == []


def test_an_unknown_operation_is_named(gateway: Gateway) -> None:
    for verb in (get_bulk, pause_bulk, resume_bulk, abort_bulk):
        with pytest.raises(BulkOperationNotFound, match="no bulk operation has the id"):
            verb(new_id())
        with pytest.raises(BulkOperationNotFound, match="to be a UUID, got: 'x'"):
            verb("x")
    with pytest.raises(InvalidOption, match="expected a state to be one of"):
        list_bulk(state="gone")


def test_a_caller_without_the_permission_for_one_run_has_none_for_many(gateway: Gateway) -> None:
    asked: list[str] = []

    def authorize(verb: str, subject: object, by: str) -> None:
        asked.append(verb)
        if verb == "retry_run":
            raise PermissionError(verb)

    with acting(Caller(by="api:x", authorize=authorize)), pytest.raises(PermissionError):
        start_bulk("retry", everything=True)
    assert asked == ["start_bulk", "retry_run"]
    assert list_bulk() == []


def test_an_operation_is_started_with_the_callers_transaction_or_not_at_all(
    gateway: Gateway,
) -> None:
    gateway.fail(1)
    with suppress(ZeroDivisionError), gateway.harness.memory.transaction():
        start_bulk("retry", everything=True)
        raise ZeroDivisionError
    assert list_bulk() == []
    with gateway.harness.memory.transaction():
        operation = start_bulk("retry", everything=True)
    assert [each.id for each in list_bulk()] == [operation.id]


def test_a_caller_that_sees_some_tasks_touches_no_run_of_others(gateway: Gateway) -> None:
    gateway.fail(2)
    hers, others = (Caller(tasks=frozenset({task})) for task in ("pay", "mail"))
    with acting(others):
        assert plan_bulk("retry", everything=True).count == 0
        with pytest.raises(InvalidOption, match="no runs of these tasks"):
            start_bulk("retry", task="pay")
    with acting(hers):
        operation = start_bulk("retry", everything=True)
        assert (operation.planned, get_bulk(operation.id).wanted.tasks) == (2, ("pay",))
    with acting(others), pytest.raises(BulkOperationNotFound):
        abort_bulk(operation.id)
    with acting(others):
        assert list_bulk() == []
