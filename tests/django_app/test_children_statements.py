"""What a family of runs costs in statements: it does not grow with the parent's waiting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.body.children import Together
from trigger_celery.client.starting import run_together
from trigger_celery.declare.definition import TaskDefinition, TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.consequences import of_end_here
from trigger_celery.engine.runs.trigger import Request, trigger
from trigger_celery.engine.segment.outcome import Finished
from trigger_celery.testing.contract.tools import AWKWARD, started, suspend, suspension
from trigger_celery.testing.contract.triggers import KEY, born, child
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Lease, NewWait, StepKind
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore

# PostgreSQL, MariaDB, SQLite.
BUDGETS = {
    "create": (3, 6, 6),
    "live": (1, 1, 1),
    "ends": (1, 1, 1),
    "close none": (1, 1, 1),
    "close 20": (5, 5, 5),
    "end of one of several": (1, 1, 1),
    "end of the last": (8, 8, 8),
}
NAMES = ("postgres", "mariadb", "sqlite")
MANY = 2_000

Verb = Callable[[], object]


def _create(store: DjangoStore) -> Verb:
    lease = started(store)
    return lambda: store.children.create(lease, [child(lease.run_id)])


def _live(store: DjangoStore) -> Verb:
    lease = started(store)
    born(store, lease)
    return lambda: store.children.live(lease.run_id, KEY)


def _ends(store: DjangoStore) -> Verb:
    lease = started(store)
    ids = [born(store, lease) for _ in range(20)]
    return lambda: store.children.ends(ids)


def _close(count: int) -> Callable[[DjangoStore], Verb]:
    def prepare(store: DjangoStore) -> Verb:
        lease = started(store)
        store.children.create(lease, [child(lease.run_id) for _ in range(count)])
        return lambda: store.children.close(lease.run_id, AWKWARD, limit=500)

    return prepare


def _end(left: int) -> Callable[[DjangoStore], Verb]:
    def prepare(store: DjangoStore) -> Verb:
        lease = started(store)
        first = born(store, lease)
        for _ in range(left):
            born(store, lease)
        _wait(store, lease)
        store.runs.cancel(first, AWKWARD)
        run = store.runs.get(first)
        assert run is not None
        engine = Engine(store=store)
        return lambda: of_end_here(engine, run, RunState.COMPLETED, call_hooks=lambda: None)

    return prepare


def _wait(store: DjangoStore, lease: Lease) -> None:
    wait = NewWait(key=KEY, kind=StepKind.CHILDREN, position=1)
    assert suspend(store, lease, suspension(wait)) is RunState.SUSPENDED


VERBS: dict[str, Callable[[DjangoStore], Verb]] = {
    "create": _create,
    "live": _live,
    "ends": _ends,
    "close none": _close(0),
    "close 20": _close(20),
    "end of one of several": _end(2),
    "end of the last": _end(0),
}


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("database", every_database())
def test_a_verb_for_children_sends_exactly_so_many_statements(database: str, name: str) -> None:
    store = DjangoStore(alias_of(database))
    verb = VERBS[name](store)
    with sent(store.alias) as statements:
        verb()
    assert len(statements) == BUDGETS[name][NAMES.index(database)], statements


class Parent:
    """A run that starts many others."""

    def __init__(self, store: DjangoStore, count: int) -> None:
        self.engine = Engine(store=store, tasks=TaskRegistry())
        task = define(_double, name="double")

        def parent() -> int:
            asked = [Request(definition=task, args=(number,)) for number in range(count)]
            found = run_together(self.engine, task.name, asked, Together(), frame=sys._getframe())
            return len(found)

        self.task: TaskDefinition = define(parent, name="parent-of-many")
        self.run_id: UUID = trigger(self.engine, self.task)

    def segment(self) -> object:
        """Execute one segment."""
        return execute(self.engine, self.run_id, self.task)


def _double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_large_fan_out_takes_few_statements(database: str, transactional_db: None) -> None:
    store = DjangoStore(alias_of(database))
    family = Parent(store, MANY)
    with sent(store.alias) as starting:
        family.segment()
    runs = Run.objects.using(store.alias).filter(parent=family.run_id)
    assert runs.count() == MANY
    assert len(starting) <= 45, len(starting)
    last = runs.order_by("pk").last()
    assert last is not None
    runs.exclude(pk=last.pk).update(state=RunState.COMPLETED, output="2")
    with sent(store.alias) as waking:
        execute(family.engine, last.pk, define(_double, name="double"))
    assert len(waking) <= 16, waking
    with sent(store.alias) as resuming:
        done = family.segment()
    assert isinstance(done, Finished)
    assert done.value == MANY
    assert len(resuming) <= 16, resuming


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_whether_a_sibling_lives_is_answered_from_the_index() -> None:
    store = DjangoStore(alias_of("postgres"))
    epoch = datetime(2020, 1, 1, tzinfo=UTC)
    parents = [new_id() for _ in range(10)]
    Run.objects.using(store.alias).bulk_create(
        Run(
            task="t",
            state=RunState.COMPLETED if number % 2 else RunState.SUSPENDED,
            input="[]",
            created_at=epoch,
            available_at=epoch,
            line_at=epoch,
            parent_id=parents[number % 10],
            parent_key=KEY,
        )
        for number in range(10_000)
    )
    cursor = connections[store.alias].cursor()
    cursor.execute("ANALYZE")
    found: list[tuple[str, Any]] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connections[store.alias].execute_wrapper(keep):
        assert store.children.live(parents[1], KEY) is False
    ((statement, parameters),) = found
    cursor.execute(f"EXPLAIN {statement}", parameters)
    plan = "\n".join(line for (line,) in cursor.fetchall())
    assert plan.count("trigger_run_children") == 3, plan
    assert "Seq Scan" not in plan
