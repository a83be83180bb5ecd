"""The page on upgrading is right about what may change under runs that are under way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from support.pages import page
from trigger_celery import sleep, step
from trigger_celery.testing import Harness

CHANGES = [row[0] for row in page("upgrading").rows("Your own code")[1:]]


@step
def charge() -> str:
    return "charged"


@step
def label() -> str:
    return "labeled"


@step(name="charge")
def charge_by_another_name() -> str:
    return "not called"


def body(*steps: Callable[[], str]) -> Callable[[], list[str]]:
    def task() -> list[str]:
        values = [each() for each in steps]
        sleep(60)
        return values

    return task


def outcome(old: Callable[..., Any], new: Callable[..., Any], *args: object) -> object:
    """Return what a run gives that began with the old body and ends with the new one."""
    with Harness() as harness:
        run_id = harness.trigger(harness.task(old, name="changed"), *args)
        harness.run_until_idle(timedelta(0))
        harness.engine.tasks.remove("changed")
        harness.task(new, name="changed")
        harness.run_until_idle()
        error = harness.run(run_id).error
        return error.kind if error is not None else harness.result(run_id)


@pytest.mark.parametrize(
    ("change", "old", "new", "expected"),
    [
        ("a step added", [charge], [charge, label], ["charged", "labeled"]),
        ("a step removed", [charge, label], [charge], ["charged"]),
        ("a step renamed", [charge], [charge_by_another_name], ["charged"]),
        (
            "steps in another order, or a wait where a step was",
            [charge, label],
            [label, charge],
            "NonDeterminismError",
        ),
    ],
)
def test_a_change_of_steps_does_what_the_page_says(
    change: str, old: list[Callable[[], str]], new: list[Callable[[], str]], expected: object
) -> None:
    assert change in CHANGES
    assert outcome(body(*old), body(*new)) == expected


def test_a_change_of_parameters_does_what_the_page_says() -> None:
    def before(order: int, express: bool) -> object:
        sleep(60)
        return order

    def without(order: int) -> object:
        sleep(60)
        return order

    def with_default(order: int, express: bool, gift: str = "none") -> object:
        sleep(60)
        return gift

    assert "a parameter removed or renamed" in CHANGES
    assert outcome(before, without, 7, True) == "TypeError"
    assert "a parameter added to the task" in CHANGES
    assert outcome(before, with_default, 7, True) == "none"
