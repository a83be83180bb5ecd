"""Children that are left: by a timeout, a cancellation or the death of a worker."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from support.families import STILL, Family, double, waits_for_go
from trigger_celery import current_run, sleep
from trigger_celery.client.starting import start_one
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.errors import (
    ChildRunFailed,
    RunCanceled,
    WaitTimeout,
)
from trigger_celery.testing.contract.tools import asked
from trigger_celery.vocabulary.states import RunState


def test_after_its_timeout_a_wait_raises_and_its_children_are_canceled(family: Family) -> None:
    start = family.starts_all(family.task(waits_for_go), timeout=60)

    def parent() -> Any:
        try:
            start([1, 2])
        except WaitTimeout as error:
            return str(error)
        return ""

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert "did not end within 60" in family.result(run_id)
    for index in (0, 1):
        child = family.stored(child_id(run_id, "waits_for_go", index))
        assert child.state is RunState.CANCELED
        assert child.published_at is not None


def test_a_default_stands_for_a_timeout_and_abandoned_children_go_on(family: Family) -> None:
    start = family.starts(
        family.task(waits_for_go), timeout=60, default="late", options={"parent_close": "abandon"}
    )

    def parent() -> Any:
        found = start(1)
        sleep(1)
        return found

    run_id = family.trigger(family.task(parent))
    family.run_until_idle()
    assert family.result(run_id) == "late"
    child = child_id(run_id, "waits_for_go", 0)
    family.send_event("go", {"to": 1})
    family.run_until_idle()
    assert family.result(child) == 1


def test_cancel_reaches_children_and_their_children(family: Family) -> None:
    start_leaf = family.starts_all(family.task(waits_for_go))

    def middle(number: int) -> Any:
        return start_leaf([number, number + 1])

    start_middle = family.starts_all(family.task(middle))

    def parent() -> Any:
        return start_middle([10, 20])

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id, "enough")
    family.run_until_idle(STILL)
    middles = [child_id(run_id, "middle", index) for index in range(2)]
    leaves = [child_id(each, "waits_for_go", index) for each in middles for index in range(2)]
    assert {family.run(each).state for each in (*middles, *leaves)} == {RunState.CANCELED}
    with pytest.raises(RunCanceled, match=f"run {run_id}, which had started it"):
        family.result(middles[0])


def test_cancel_goes_on_where_a_worker_left_it(family: Family) -> None:
    start = family.starts_all(family.task(waits_for_go))

    def parent() -> Any:
        return start(range(600))

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id)
    children = [child_id(run_id, "waits_for_go", index) for index in range(600)]
    states = [family.run(each).state for each in children]
    assert states.count(RunState.CANCELED) == 500
    family.execute(run_id)
    assert {family.run(each).state for each in children} == {RunState.CANCELED}


def test_what_a_canceled_body_still_starts_is_canceled_if_it_closes_with_it(family: Family) -> None:
    child = family.task(waits_for_go)
    tied = Request(definition=child, args=(1,), options=TriggerOptions(parent_close="cancel"))

    def parent() -> None:
        assert family.cancel(current_run().id)
        family.execute(current_run().id)  # another worker publishes that
        start_one(family.engine, tied, frame=sys._getframe())

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    (started,) = set(family.memory.dump()["runs"]) - {run_id}  # type: ignore[call-overload]
    assert family.run(started).state is RunState.CANCELED


def test_cancel_leaves_abandoned_children_alone(family: Family) -> None:
    start = family.starts(family.task(waits_for_go), options={"parent_close": "abandon"})

    def parent() -> Any:
        return start(1)

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(run_id)
    family.run_until_idle(STILL)
    child = child_id(run_id, "waits_for_go", 0)
    assert family.run(child).state is RunState.SUSPENDED
    family.send_event("go", {"to": 1})
    family.run_until_idle()
    assert family.result(child) == 1


def test_a_child_that_is_canceled_alone_fails_its_parent(family: Family) -> None:
    start = family.starts(family.task(waits_for_go))

    def parent() -> Any:
        try:
            return str(start(1))
        except ChildRunFailed as error:
            return f"{error.kind}: {error.message}"

    run_id = family.trigger(family.task(parent))
    family.run_until_idle(STILL)
    family.cancel(child_id(run_id, "waits_for_go", 0), "no need")
    family.run_until_idle()
    assert family.result(run_id) == "RunCanceled: no need"


def test_a_child_whose_worker_died_too_often_wakes_its_parent(family: Family) -> None:
    task = family.task(double, max_crashes=1)
    start = family.starts(task)

    def parent() -> Any:
        try:
            return str(start(1))
        except ChildRunFailed as error:
            return error.kind

    run_id = family.trigger(family.task(parent))
    family.execute(run_id)
    child = child_id(run_id, "double", 0)
    _claim_and_die(family, child)
    family.run_until_idle()
    assert family.result(run_id) == "RunCrashed"


def _claim_and_die(family: Family, run_id: UUID) -> None:
    assert family.memory.runs.claim(asked(run_id, task=family.run(run_id).task)) is not None
    family.advance(timedelta(minutes=2))
