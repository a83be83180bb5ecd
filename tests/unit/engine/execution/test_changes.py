"""What steps, and branches of ``wait_any``, change in place is warned of: replays lose it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.waits import sleep
from trigger_celery.config import Config
from trigger_celery.engine.execution import changes
from trigger_celery.testing import Harness
from trigger_celery.values import JsonCodec


@pytest.fixture(autouse=True)
def _nothing_shown() -> Iterator[None]:
    changes._SHOWN.clear()  # Python shows a warning of one place once
    yield
    changes._SHOWN.clear()


@step
def collect(items: list[str], *, more: Any = None) -> None:
    items.append("added")


@step(atomic=True)
def collect_atomically(items: list[str]) -> None:
    items.append("added")


@step
async def collect_async(items: list[str]) -> None:
    items.append("added")


async def collect_plainly(items: list[str]) -> None:
    items.append("added")


@step
def read(items: list[str], lock: object, *, by: dict[str, int]) -> int:
    return len(items) + len(by)


def said(harness: Harness, body: Any, **options: Any) -> list[str]:
    """Return the warnings of a run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_id = harness.trigger(harness.task(body, **options))
        harness.run_until_idle()
    assert harness.run(run_id).error is None
    return [str(each.message) for each in caught if each.category is RuntimeWarning]


def by_step() -> None:
    collect(["a"])


def by_name() -> None:
    collect(items=["a"])


def by_atomic_step() -> None:
    collect_atomically(["a"])


def in_a_branch() -> None:
    items: list[str] = []
    gather(lambda: collect(items))


async def by_async_step() -> None:
    await collect_async(["a"])


async def by_plain_step() -> None:
    await step.run("collect", collect.plain, ["a"])


async def by_automatic_step() -> None:
    await collect_plainly(["a"])


@pytest.mark.parametrize(
    "body",
    [
        by_step,
        by_name,
        by_atomic_step,
        in_a_branch,
        by_async_step,
        by_plain_step,
        by_automatic_step,
    ],
)
def test_a_step_that_changes_an_argument_is_named_with_it(harness: Harness, body: Any) -> None:
    [text] = said(harness, body)
    assert "changed its argument 'items' in place" in text
    assert "Return what the body needs" in text
    assert f"task {body.__name__!r}" in text


def test_a_step_that_changes_none_is_not_warned_of(harness: Harness) -> None:
    def body() -> int:
        return read(["a"], object(), by={"a": 1})

    assert said(harness, body) == []


def test_what_cannot_be_stored_is_not_compared(harness: Harness) -> None:
    def change(items: list[object]) -> None:
        items.append(object())

    def body() -> None:
        step.run("change", change, [object()])

    assert said(harness, body) == []


def collected_by_lambda() -> None:
    seen: list[int] = []
    wait_any(lambda: seen.append(1), lambda: sleep(5))


def counted_by_nonlocal() -> None:
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1

    wait_any(count, lambda: sleep(5))


def collected_by_partial() -> None:
    wait_any(partial(list.append, [1], 2), lambda: sleep(5))


async def collected_by_coroutine() -> None:
    seen: list[int] = []

    async def branch() -> None:
        seen.append(1)

    await wait_any(branch(), sleep(5))


async def collected_by_a_function_of_an_async_body() -> None:
    seen: list[int] = []
    await wait_any(lambda: seen.append(1), sleep(5))


@pytest.mark.parametrize(
    ("body", "variable"),
    [
        (collected_by_lambda, "'seen'"),
        (counted_by_nonlocal, "'seen'"),
        (collected_by_partial, "number 1"),
        (collected_by_coroutine, "'seen'"),
        (collected_by_a_function_of_an_async_body, "'seen'"),
    ],
)
def test_what_branches_of_wait_any_collect_around_them_is_named(
    harness: Harness, body: Any, variable: str
) -> None:
    texts = said(harness, body, checkpoint="explicit")
    assert [f"changed the variable {variable}" in text for text in texts] == [True]


def test_in_production_a_setting_asks_for_it() -> None:
    with Harness(config=Config(warn_of_changes=True)) as harness:
        harness.engine.watches_changes = False
        run_id = harness.trigger(harness.task(by_step))
        with pytest.warns(RuntimeWarning, match="changed its argument 'items'"):
            harness.execute(run_id)


def test_it_costs_nothing_where_it_is_not_asked_for(harness: Harness) -> None:
    encoded: list[str] = []

    class Counting(JsonCodec):
        def encode(self, value: object, *, what: str = "value") -> str:
            encoded.append(what)
            return super().encode(value, what=what)

    harness.engine.codec = Counting()
    harness.engine.watches_changes = False
    run_id = harness.trigger(harness.task(by_step))
    encoded.clear()
    harness.execute(run_id)
    assert encoded == ["the result of step 'collect'", "the result of task 'by_step'"]
