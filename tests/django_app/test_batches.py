"""Batches: a thousand runs take few statements on each database, with keys and tags too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import Request, start
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import History, Run, RunKey, RunTag
from trigger_celery_django.store import DjangoStore

THOUSAND = 1_000
LIMIT = 25


def add(a: int, b: int = 0) -> int:
    return a + b


def requests(**options: bool) -> tuple[Engine, list[Request]]:
    definition = define(add, name="add")
    made = [
        Request(
            definition=definition,
            args=(number,),
            options=TriggerOptions(
                tags=[f"customer-{number}", "é"] if options.get("tags") else (),
                idempotency_key=f"order-{number}" if options.get("keys") else None,
                metadata={"number": number},
            ),
        )
        for number in range(THOUSAND)
    ]
    return Engine(store=DjangoStore(), tasks=TaskRegistry()), made


@pytest.mark.parametrize(
    ("what", "postgres"),
    [({}, 2), ({"tags": True}, 3), ({"tags": True, "keys": True}, 8)],
    ids=["plain", "tags", "tags and keys"],
)
@pytest.mark.parametrize("database", every_database())
def test_a_thousand_runs_take_at_most_25_statements(
    database: str, what: dict[str, bool], postgres: int
) -> None:
    engine, made = requests(**what)
    alias = alias_of(database)
    engine.store = DjangoStore(alias)
    with sent(alias) as statements:
        started = start(engine, made)
    assert len({each.id for each in started}) == THOUSAND
    assert len(statements) <= LIMIT, [statement[:80] for statement in statements]
    if database == "postgres":
        assert len(statements) == postgres, [statement[:80] for statement in statements]
    assert Run.objects.using(alias).count() == THOUSAND
    assert History.objects.using(alias).filter(verb="trigger").count() == THOUSAND


@pytest.mark.parametrize("database", every_database())
def test_a_thousand_runs_that_take_over_freed_keys_take_at_most_25_statements(
    database: str,
) -> None:
    engine, made = requests(keys=True)
    alias = alias_of(database)
    engine.store = DjangoStore(alias)
    before = {each.id for each in start(engine, made)}
    Run.objects.using(alias).update(state=RunState.FAILED, due_at=None)
    with sent(alias) as statements:
        started = start(engine, made)
    assert all(each.created for each in started)
    assert before.isdisjoint(each.id for each in started)
    holders = RunKey.objects.using(alias).values_list("run", flat=True)
    assert set(holders) == {each.id for each in started}
    assert len(statements) <= LIMIT, len(statements)


@pytest.mark.parametrize("database", every_database())
def test_runs_of_a_batch_are_stored_as_single_ones_are(database: str) -> None:
    engine, made = requests(tags=True)
    alias = alias_of(database)
    engine.store = DjangoStore(alias)
    (single,) = start(engine, made[7:8])
    batch = start(engine, made[:30])
    one, other = (engine.store.runs.get(started.id) for started in (single, batch[7]))
    assert one is not None
    assert other is not None
    assert replace(one.spec, id=other.id) == other.spec
    assert one.state == other.state
    assert other.spec.tags == ("customer-7", "é")
    assert abs(other.created_at - one.created_at).total_seconds() < 60
    found = RunTag.objects.using(alias).filter(tag="customer-7").values_list("run", flat=True)
    assert set(found) == {single.id, batch[7].id}
