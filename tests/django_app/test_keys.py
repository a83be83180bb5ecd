"""Many callers at once with one key, on each database: one run, and every transaction survives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import TypeVar
from uuid import UUID

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import F

from support.databases import alias_of, every_database
from support.store_rows import sent
from testproject.shop.models import Effect
from trigger_celery.declare.definition import TaskDefinition, TaskRegistry, define
from trigger_celery.declare.options import Debounce, TriggerOptions
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import Request, start, trigger
from trigger_celery.errors import IdempotencyConflict
from trigger_celery_django.models import Run, RunKey, RunTag
from trigger_celery_django.store import DjangoStore

T = TypeVar("T")
DEADLOCK = 1213
ONE_KEY = TriggerOptions(idempotency_key="order-1", tags=["vip"])


def add(a: int, b: int = 0) -> int:
    return a + b


def engine_on(database: str) -> tuple[Engine, TaskDefinition]:
    definition = define(add, name="add")
    tasks = TaskRegistry()
    tasks.add(definition)
    return Engine(store=DjangoStore(alias_of(database)), tasks=tasks), definition


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """Call from so many threads, which begin together."""
    barrier = Barrier(count)

    def one(number: int) -> T:
        try:
            barrier.wait()
            return call(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def callers(database: str) -> int:
    return 8 if database == "sqlite" else 50


@pytest.mark.parametrize("database", every_database())
def test_a_renamed_task_finds_the_keys_of_its_earlier_name(database: str) -> None:
    engine, task = engine_on(database)
    renamed = define(add, name="plus", aliases=["sum", "add"])
    first = trigger(engine, task, (1,), options=ONE_KEY)
    batch = [
        Request(definition=renamed, args=(1,), options=replace(ONE_KEY, idempotency_key=key))
        for key in ("order-1", "order-2", "order-1", "order-2")
    ]
    one, two, *again = start(engine, batch)
    assert (one.id, one.created, two.created) == (first, False, True)
    assert [each.id for each in again] == [first, two.id]
    assert trigger(engine, task, (1,), options=batch[1].options) == two.id
    keys = RunKey.objects.using(alias_of(database))
    held = [(first, "add"), *((two.id, name) for name in ("add", "plus", "sum"))]
    assert [*keys.order_by("key", "task").values_list("run", "task")] == held


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_of_fifty_callers_at_once_one_starts_the_run_and_all_transactions_commit(
    database: str,
) -> None:
    engine, task = engine_on(database)
    alias, count = alias_of(database), callers(database)

    def call(number: int) -> UUID:
        with transaction.atomic(using=alias):
            run_id = trigger(engine, task, (1,), options=ONE_KEY)
            Effect.objects.using(alias).create(run=str(run_id), step="caller", n=number)
            return run_id

    assert len(set(at_once(count, call))) == 1
    assert Run.objects.using(alias).count() == 1
    assert RunKey.objects.using(alias).count() == 1
    assert Effect.objects.using(alias).count() == count


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_callers_whose_rival_rolls_back_start_one_run(database: str) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)

    def work(number: int) -> UUID | None:
        try:
            with transaction.atomic(using=alias):
                run_id = trigger(engine, task, (1,), options=ONE_KEY)
                if number % 2:
                    raise ZeroDivisionError
                return run_id
        except ZeroDivisionError:
            return None

    def call(number: int) -> UUID | None:
        while True:
            try:
                return work(number)
            except OperationalError as error:
                # InnoDB leaves gap locks with all that waited for a row which was rolled back.
                if database != "mariadb" or error.args[0] != DEADLOCK:
                    raise

    found = set(at_once(8, call)) - {None}
    assert len(found) == 1
    assert set(Run.objects.using(alias).values_list("pk", flat=True)) == found


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_batches_at_once_with_the_same_keys_start_each_run_once(database: str) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)

    def call(number: int) -> list[UUID]:
        order = range(20) if number % 2 else reversed(range(20))
        requests = [
            Request(
                definition=task,
                args=(each,),
                options=TriggerOptions(idempotency_key=f"order-{each}"),
            )
            for each in order
        ]
        with transaction.atomic(using=alias):
            return [started.id for started in start(engine, requests)]

    batches = at_once(8, call)
    assert len({run_id for batch in batches for run_id in batch}) == 20
    assert Run.objects.using(alias).count() == 20


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_debounced_callers_at_once_push_one_run(database: str) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)
    options = TriggerOptions(debounce=Debounce(key="k", delay=60, mode="trailing"), tags=["a", "b"])

    def call(number: int) -> UUID:
        return trigger(engine, task, (number,), options=options)

    assert len(set(at_once(8, call))) == 1
    assert Run.objects.using(alias).count() == 1
    assert sorted(RunTag.objects.using(alias).values_list("tag", flat=True)) == ["a", "b"]


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_debounced_callers_at_once_that_come_too_late_start_one_new_run(database: str) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)
    options = TriggerOptions(debounce=Debounce(key="k", delay=60, max_delay=61))
    first = trigger(engine, task, (0,), options=options)
    Run.objects.using(alias).update(created_at=F("created_at") - timedelta(hours=1))

    def call(number: int) -> UUID:
        return trigger(engine, task, (number,), options=options)

    (second,) = set(at_once(8, call))
    assert second != first
    assert RunKey.objects.using(alias).get().run_id == second


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_conflict_writes_nothing_and_leaves_the_callers_transaction_alone(
    database: str,
) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)
    first = trigger(engine, task, (1,), options=ONE_KEY)
    fresh = TriggerOptions(idempotency_key="order-2")
    requests = [
        Request(definition=task, args=(3,), options=fresh),
        Request(definition=task, args=(2,), options=ONE_KEY),
    ]
    with transaction.atomic(using=alias):
        with pytest.raises(IdempotencyConflict, match=f"'order-1'.*{first}"):
            start(engine, requests)
        Effect.objects.using(alias).create(run="x", step="after", n=1)
    assert Effect.objects.using(alias).count() == 1
    assert [run.pk for run in Run.objects.using(alias).all()] == [first]
    assert RunKey.objects.using(alias).count() == 1


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_keyed_run_and_its_key_vanish_with_the_callers_transaction(database: str) -> None:
    engine, task = engine_on(database)
    alias = alias_of(database)
    with transaction.atomic(using=alias):
        trigger(engine, task, (1,), options=ONE_KEY)
        transaction.set_rollback(True, using=alias)
    assert not Run.objects.using(alias).exists()
    assert not RunKey.objects.using(alias).exists()
    assert not RunTag.objects.using(alias).exists()


@pytest.mark.parametrize("database", every_database())
def test_looking_for_overdue_runs_is_one_statement_when_there_are_none(database: str) -> None:
    engine, task = engine_on(database)
    trigger(engine, task, (1,), options=TriggerOptions(ttl=60))
    with sent(alias_of(database)) as statements:
        engine.store.sweeps.expire(limit=100)
    assert len(statements) == 1


@pytest.mark.parametrize("database", every_database())
def test_a_trigger_without_a_key_or_tags_is_as_cheap_as_ever(database: str) -> None:
    engine, task = engine_on(database)
    with sent(alias_of(database)) as plain:
        trigger(engine, task, (1,), options=TriggerOptions(priority=1, metadata={"a": 1}))
    with sent(alias_of(database)) as keyed:
        trigger(engine, task, (1,), options=TriggerOptions(idempotency_key="k"))
    extra = 3 if database != "sqlite" else 2  # the time, the key, its holder
    assert len(plain) == {"postgres": 1, "mariadb": 4, "sqlite": 4}[database]
    assert len(keyed) == len(plain) + extra
