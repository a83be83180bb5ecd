"""Runs that start runs and wait for them, in a real worker."""

from __future__ import annotations

from uuid import UUID

import pytest
from celery.result import AsyncResult

from support.celery_states import run_of, value_of, wait_for_run, wait_until_published
from support.waiting import eventually
from support.workers import Site
from testproject.shop.tasks import patient_parent, squares
from trigger_celery import send_event
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs import control as run_control
from trigger_celery.errors import ChildRunFailed
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState

PLACE = ("redis", "redis")
pytestmark = [pytest.mark.requires("redis"), pytest.mark.usefixtures("worker")]


def children(result: AsyncResult[object], task: str, count: int) -> list[Run]:
    """Return the runs that a run started."""
    parent = UUID(str(result.id))
    ids = [child_id(parent, task, index) for index in range(count)]
    return [run_control.get(installed_engine(), run_id) for run_id in ids]


def test_a_parent_gets_the_results_of_twenty_children_in_order(place: Site) -> None:
    result = squares.delay(list(range(20)))
    assert value_of(result) == [value * value for value in range(20)]
    for child in children(result, "squared", 20):
        assert place.effects(child.id) == ["squared"]
        assert (child.state, child.spec.parent_id) == (RunState.COMPLETED, UUID(str(result.id)))
    assert wait_until_published(result).fence == 2


def test_the_failure_of_a_child_is_the_failure_of_its_parent() -> None:
    result = squares.delay([1, -1])
    with pytest.raises(ChildRunFailed, match="ValueError: -1 is negative"):
        value_of(result)
    assert run_of(result).attempt == 1


def test_children_without_results_in_celery_wake_their_parent() -> None:
    result = patient_parent.delay([101, 102])
    wait_for_run(result, RunState.SUSPENDED)
    for number in (101, 102):
        send_event("patient-child", {"number": number})
    assert value_of(result) == [101, 102]


def test_cancel_reaches_the_children() -> None:
    result = patient_parent.delay([201, 202, 203])
    wait_for_run(result, RunState.SUSPENDED)
    run_control.cancel(installed_engine(), UUID(str(result.id)), "enough")

    def all_over() -> bool:
        found = children(result, "patient-child", 3)
        return all(run.published_at is not None for run in found)

    eventually(all_over)
    states = {run.state for run in children(result, "patient-child", 3)}
    assert states == {RunState.CANCELED}
