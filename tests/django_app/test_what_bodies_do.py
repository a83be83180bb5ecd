"""Threads of a body's own, exits, plain branches and changed arguments, on real databases."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from support.databases import alias_of, every_database
from testproject.shop.models import Effect
from trigger_celery import gather, sleep, step
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution import changes
from trigger_celery.engine.runs.control import get
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import StepFailed
from trigger_celery.testing.drain import drain
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

databases = pytest.mark.parametrize("database", every_database(transaction=True))
PAID: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    PAID.clear()
    changes._SHOWN.clear()  # Python shows a warning of one place once


def ended(database: str, body: Any) -> Any:
    """Carry a run of the body to its end on a database and return it."""
    store = DjangoStore(alias_of(database))
    engine = Engine(store=store, tasks=TaskRegistry())
    definition = define(body, name="what-bodies-do")
    engine.tasks.add(definition)
    before = install_engine(engine)
    try:
        run_id = trigger(engine, definition, (alias_of(database),))
        drain(engine, open_runs=lambda: [run_id], advance=partial(advance, store))
        return get(engine, run_id)
    finally:
        install_engine(before)


@step(atomic=True)
def write(alias: str, number: int) -> int:
    Effect.objects.using(alias).create(run="bodies", step="write", n=number)
    return number


@step(atomic=True)
def write_and_exit(alias: str) -> None:
    Effect.objects.using(alias).create(run="bodies", step="exit", n=0)
    sys.exit(3)


async def pay_all(*numbers: int) -> int:
    for number in numbers:
        PAID.append(number)
    return len(numbers)


def steps_written(database: str) -> list[str]:
    effects = Effect.objects.using(alias_of(database)).filter(run="bodies")
    return sorted(effects.values_list("step", flat=True))


@databases
def test_a_pool_of_the_bodys_own_writes_nothing(database: str) -> None:
    def body(alias: str) -> Any:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(write, [alias, alias], [1, 2]))

    run = ended(database, body)
    assert (run.state, run.attempt, steps_written(database)) == (RunState.FAILED, 1, [])
    assert "ForeignThread" in run.error


@databases
def test_an_exit_of_an_atomic_step_is_rolled_back_and_recorded(database: str) -> None:
    def body(alias: str) -> str:
        try:
            write_and_exit(alias)
        except StepFailed as error:
            write(alias, 1)
            sleep(60)
            return error.kind
        return "not reached"

    run = ended(database, body)
    assert (run.state, run.output, run.crashes) == (RunState.COMPLETED, '"SystemExit"', 0)
    assert steps_written(database) == ["write"]


@databases
def test_an_exit_of_a_body_is_one_failure(database: str) -> None:
    async def body(alias: str) -> None:
        await write(alias, 1)
        sys.exit(3)

    run = ended(database, body)
    assert (run.state, run.attempt, run.crashes) == (RunState.FAILED, 1, 0)
    assert "SystemExit(3)" in run.error


@databases
def test_a_plain_helper_in_a_branch_runs_once(database: str) -> None:
    async def body(alias: str) -> Any:
        paid = await gather(pay_all(1, 2), pay_all(3), write(alias, 1))
        await sleep(60)
        await sleep(60)
        return paid

    run = ended(database, body)
    assert (run.state, run.output, sorted(PAID)) == (RunState.COMPLETED, "[2,1,1]", [1, 2, 3])


@databases
def test_a_changed_argument_is_warned_of_under_drain(database: str) -> None:
    def body(alias: str) -> None:
        items = [alias]
        step.run("collect", items.append, "more")
        step.run("extend", list.append, items, "more")

    with pytest.warns(RuntimeWarning, match="changed its argument number 1 in place") as caught:
        ended(database, body)
    assert len(caught) == 1
