"""Branches in threads on real databases: each has its own connection, and closes it."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction

from support.databases import alias_of, every_database
from testproject.shop.models import Effect
from trigger_celery import gather, sleep, step, wait_any, wait_for_event
from trigger_celery.backoff import RetryPolicy
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.control import get
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing.drain import drain
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Checkpoint, Wait
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

BRANCHES = 6
ONCE = RetryPolicy(max_attempts=1)
LOG: list[Any] = []
HELD: list[bool] = []
databases = pytest.mark.parametrize("database", every_database(transaction=True))


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()
    HELD.clear()


def finished(database: str, body: Any) -> Any:
    """Carry a run of the body to its end on a database and return it."""
    store = DjangoStore(alias_of(database))
    engine = Engine(store=store, tasks=TaskRegistry())
    definition = define(body, name="parallel", retry=ONCE)
    engine.tasks.add(definition)
    before = install_engine(engine)
    try:
        run_id = trigger(engine, definition, (database,))
        drain(engine, open_runs=lambda: [run_id], advance=partial(advance, store))
        return get(engine, run_id)
    finally:
        install_engine(before)


@step(atomic=True)
def write(alias: str, number: int) -> int:
    connection = connections[alias]
    LOG.append((threading.current_thread(), connection))
    assert connection.in_atomic_block
    Effect.objects.using(alias).create(run="parallel", step="write", n=number)
    return number


@step(atomic=True)
def write_and_fail(alias: str) -> None:
    Effect.objects.using(alias).create(run="parallel", step="failed", n=0)
    raise LookupError("rolled back")


@databases
def test_atomic_steps_of_branches_commit_on_connections_of_their_own(database: str) -> None:
    alias = alias_of(database)

    def body(_: str) -> Any:
        own = connections[alias]
        own.ensure_connection()

        def branch(number: int) -> int:
            HELD.append(own.connection is not None)
            return write(alias, number)

        branches = [partial(branch, number) for number in range(BRANCHES)]
        return gather(*branches, max_parallel=3)

    run = finished(database, body)
    assert (run.state, run.output) == (RunState.COMPLETED, str([*range(BRANCHES)]).replace(" ", ""))
    assert HELD == [False] * BRANCHES, "the body held a connection"
    rows = Effect.objects.using(alias).filter(step="write").values_list("n", flat=True)
    assert sorted(rows) == [*range(BRANCHES)]
    keys = Checkpoint.objects.using(alias).values_list("key", flat=True)
    assert set(keys) == {f"branch-{number}/write" for number in range(1, BRANCHES + 1)}
    threads, used = zip(*LOG, strict=True)
    assert threading.current_thread() not in threads
    assert connections[alias] not in used
    assert [connection.connection for connection in used] == [None] * BRANCHES, "not closed"


@databases
def test_a_failed_branch_is_rolled_back_alone(database: str) -> None:
    alias = alias_of(database)

    def body(_: str) -> Any:
        return gather(lambda: write_and_fail(alias), lambda: write(alias, 1))

    run = finished(database, body)
    assert run.state is RunState.FAILED
    assert "rolled back" in run.error
    rows = Effect.objects.using(alias).values_list("step", flat=True)
    assert list(rows) == ["write"]


@databases
def test_an_open_transaction_of_a_branch_is_its_own_mistake(database: str) -> None:
    alias = alias_of(database)

    def careless() -> None:
        with transaction.atomic(using=alias):
            write(alias, 1)

    def body(_: str) -> Any:
        first, second = gather(careless, lambda: write(alias, 2), return_exceptions=True)
        return [type(first).__name__, second]

    run = finished(database, body)
    assert run.output == '["TransactionOpen",2]'
    assert Effect.objects.using(alias).get().n == 2


@databases
def test_waits_of_branches_suspend_once_and_a_race_is_recorded(database: str) -> None:
    alias = alias_of(database)

    def body(_: str) -> Any:
        naps = gather(*(partial(sleep, 5) for _ in range(BRANCHES)))
        winner, _ = wait_any(lambda: wait_for_event("never"), lambda: sleep(5))
        sleep(5)
        return [len(naps), winner, write(alias, 1)]

    run = finished(database, body)
    assert run.output == f"[{BRANCHES},1,1]"
    assert run.fence == 4, "one segment for each of three suspensions, and the last"
    states = Wait.objects.using(alias).values_list("state", flat=True)
    assert sorted(states) == ["canceled", *["timeout"] * (BRANCHES + 2)]
