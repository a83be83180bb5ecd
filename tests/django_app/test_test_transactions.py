"""Tests of users in a transaction of their own: branches see the run, statements are counted."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from support.databases import alias_of, every_database
from testproject.shop.models import Effect
from trigger_celery import gather, sleep, step, wait_any
from trigger_celery.client.access import using_engine
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.control import get
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing.drain import drain
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

databases = pytest.mark.parametrize("database", every_database())


def finished(database: str, body: Any) -> Any:
    """Carry a run of the body to its end in the test's transaction and return it."""
    store = DjangoStore(alias_of(database))
    engine = Engine(store=store, tasks=TaskRegistry())
    definition = define(body, name="in-a-test")
    engine.tasks.add(definition)
    with using_engine(engine):
        run_id = trigger(engine, definition, ())
        drain(engine, open_runs=lambda: [run_id], advance=partial(advance, store))
        return get(engine, run_id)


@step
def write(alias: str, number: int) -> int:
    Effect.objects.using(alias).create(run="in-a-test", step="write", n=number)
    return number


@databases
def test_branches_of_gather_use_the_connection_of_the_test(database: str) -> None:
    alias = alias_of(database)

    def both(number: int) -> int:
        write(alias, number)
        sleep(60)
        return write(alias, number + 10)

    run = finished(database, lambda: gather(partial(both, 1), partial(both, 2), max_parallel=2))
    assert (run.state, run.output, run.crashes) == (RunState.COMPLETED, "[11,12]", 0)
    rows = Effect.objects.using(alias).values_list("n", flat=True)
    assert sorted(rows) == [1, 2, 11, 12]


@databases
def test_branches_of_wait_any_use_the_connection_of_the_test(database: str) -> None:
    alias = alias_of(database)
    run = finished(database, lambda: wait_any(partial(sleep, 3600), partial(write, alias, 5)))
    assert (run.state, run.output) == (RunState.COMPLETED, '{"$t":"tuple","v":[1,5]}')


@databases
def test_a_failing_branch_in_a_test_fails_the_run_as_it_does_in_a_worker(database: str) -> None:
    def failing() -> None:
        raise LookupError("lost")

    run = finished(database, lambda: gather(failing, partial(write, alias_of(database), 1)))
    assert run.state == RunState.FAILED
    assert "LookupError" in run.error


@databases
def test_branches_leave_no_thread_behind_in_a_test(database: str) -> None:
    before = threading.active_count()
    names: list[str] = []

    def note() -> None:
        names.append(threading.current_thread().name)

    finished(database, lambda: gather(note, note))
    assert set(names) == {threading.current_thread().name}
    assert threading.active_count() <= before + 1  # that which renews leases


@databases
def test_statements_of_a_run_are_in_the_query_log_of_django(database: str) -> None:
    store = DjangoStore(alias_of(database))
    engine = Engine(store=store, tasks=TaskRegistry())
    definition = define(lambda: None, name="counted")
    engine.tasks.add(definition)
    with using_engine(engine), CaptureQueriesContext(connections[store.alias]) as captured:
        trigger(engine, definition, ())
    table = Run._meta.db_table
    inserts = [each["sql"] for each in captured.captured_queries if "INSERT" in each["sql"]]
    assert any(table in sql for sql in inserts)
