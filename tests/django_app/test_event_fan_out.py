"""One event for many runs: bounded batches, bounded memory, and no run lost to a crash."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskRegistry
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.matching import BATCH, match_event
from trigger_celery.testing import Fault, FaultStore, SimulatedCrash
from trigger_celery.testing.contract.tools import emitted, queued
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewEvent, Nudge, StoredEvent, Subscription
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.store import DjangoStore

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
MANY = 10_000
POSTGRES = [
    pytest.mark.requires("postgres"),
    pytest.mark.django_db(databases=[alias_of("postgres")]),
]


class Counting(NullDispatcher):
    """Counts the nudges it is given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Count."""
        self.batches.append(len(nudges))


def engine_on(store: object) -> Engine:
    return Engine(store=store, dispatcher=Counting(), tasks=TaskRegistry())  # type: ignore[arg-type]


def suspend_many(alias: str, engine: Engine, count: int, name: str = "go") -> None:
    wanted = Filter(name, {"kind": "a", "n": {"$gt": 1}}, engine.codec)
    runs = [
        models.Run(
            id=new_id(),
            task="t",
            state=RunState.SUSPENDED,
            input="[]",
            created_at=EPOCH,
            available_at=EPOCH,
            line_at=EPOCH,
        )
        for _ in range(count)
    ]
    models.Run.objects.using(alias).bulk_create(runs, batch_size=500)
    models.Wait.objects.using(alias).bulk_create(
        (
            models.Wait(
                run=run,
                key="k",
                kind="wait_for_event",
                state=WaitState.WAITING,
                position=0,
                name=name,
                filter=wanted.text,
                paths=wanted.paths,
                match_hash=wanted.match_hash,
                created_at=EPOCH,
            )
            for run in runs
        ),
        batch_size=500,
    )
    models.WaitShape.objects.using(alias).create(digest=name, name=name, paths=wanted.paths)
    if connections[alias].vendor == "postgresql":
        # Another test may have left the statistics of empty tables; autovacuum sees none of ours.
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE trigger_celery_run, trigger_celery_wait")


def stored(engine: Engine, name: str = "go") -> StoredEvent:
    text = engine.codec.encode({"kind": "a", "n": 2})
    event = engine.store.events.add(NewEvent(id=str(new_id()), name=name, payload=text))
    assert event is not None
    return event


def peak_of(engine: Engine, event: StoredEvent) -> int:
    tracemalloc.start()
    try:
        match_event(engine, event)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestManyWaits:
    """On PostgreSQL, where the load is."""

    pytestmark = POSTGRES

    def test_an_event_wakes_ten_thousand_runs_in_bounded_memory(self) -> None:
        store = DjangoStore(alias_of("postgres"))
        engine = engine_on(store)
        for name, count in (("warm", 1_000), ("few", 1_000), ("many", MANY)):
            suspend_many(store.alias, engine, count, name)
        peak_of(engine, stored(engine, "warm"))
        few = peak_of(engine, stored(engine, "few"))
        counting = engine.dispatcher = Counting()
        many = peak_of(engine, stored(engine, "many"))
        assert sum(counting.batches) == MANY
        assert max(counting.batches) == BATCH
        assert many <= 1.5 * few
        waits = models.Wait.objects.using(store.alias)
        assert not waits.filter(state=WaitState.WAITING).exists()


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
@pytest.mark.parametrize(
    ("database", "count"),
    [
        pytest.param(*each.values, MANY if "postgres" in each.values else 1_600, marks=each.marks)  # type: ignore[attr-defined]
        for each in every_database()
    ],
)
def test_a_sender_that_dies_amid_its_waits_is_made_up_for_by_the_sweep(
    database: str, count: int, fault: Fault
) -> None:
    inner = DjangoStore(alias_of(database))
    suspend_many(inner.alias, engine_on(inner), count)
    calls = ["events.audience", *["waits.candidates", "events.ahead", "waits.resolve"] * 2]
    store = FaultStore(inner, {1 + len(calls): fault})
    engine = engine_on(store)
    event = stored(engine)
    with pytest.raises(SimulatedCrash):
        match_event(engine, event)
    assert [verb for _, verb in store.calls] == ["events.add", *calls, "waits.candidates"]
    waits = models.Wait.objects.using(inner.alias)
    assert waits.filter(state=WaitState.EVENT).count() == 2 * BATCH
    store.restart()
    models.Event.objects.using(inner.alias).update(received_at=EPOCH)
    sweep(engine_on(inner))
    assert waits.filter(state=WaitState.EVENT, event=event.sequence).count() == count
    woken = models.History.objects.using(inner.alias).filter(verb="wake")
    assert (woken.count(), woken.values("run").distinct().count()) == (count, count)
    runs = models.Run.objects.using(inner.alias)
    assert runs.filter(state=RunState.QUEUED).count() == count


@pytest.mark.parametrize("database", every_database())
def test_an_event_starts_many_tasks_in_few_statements(database: str) -> None:
    store = DjangoStore(alias_of(database))
    engine = engine_on(store)
    tasks = [f"task-{number:04}" for number in range(1_200)]
    store.subscriptions.sync([Subscription(task=t, name="go", filter="{}") for t in tasks], [])
    event = stored(engine)
    with sent(store.alias) as statements:
        assert match_event(engine, event) == 1_200
    assert len(statements) <= 90
    assert match_event(engine, event) == 0
    runs = models.Run.objects.using(store.alias)
    assert sorted(runs.values_list("task", flat=True)) == tasks


@pytest.mark.parametrize("database", every_database())
def test_an_event_that_no_wait_and_no_task_matches_costs_so_many_statements(database: str) -> None:
    store = DjangoStore(alias_of(database))
    engine = engine_on(store)
    event = stored(engine)
    with sent(store.alias) as statements:
        match_event(engine, event)
    assert len(statements) == (2 if database == "postgres" else 3)


@pytest.mark.parametrize("database", every_database())
def test_an_event_that_wakes_a_run_costs_so_many_statements_once_its_shapes_are_known(
    database: str,
) -> None:
    store = DjangoStore(alias_of(database))
    engine = engine_on(store)
    suspend_many(store.alias, engine, 1)
    counts = []
    for payload in ({"kind": "a", "n": 0}, {"kind": "a", "n": 2}):
        new = NewEvent(id=str(new_id()), name="go", payload=engine.codec.encode(payload))
        event = store.events.add(new)
        assert event is not None
        with sent(store.alias) as statements:
            assert match_event(engine, event) == (payload["n"] == 2)
        counts.append(len(statements))
    # The first, which no run wants, asks for the waits again and is noted by itself.
    assert counts == ([3, 2] if database == "postgres" else [4, 12])
    assert not models.Event.objects.using(store.alias).filter(matched_at=None).exists()


@pytest.mark.parametrize("database", every_database())
def test_a_purge_sends_one_statement_for_what_is_young_and_one_more_to_delete(
    database: str,
) -> None:
    store = DjangoStore(alias_of(database))
    event = emitted(store)
    store.events.matched(event.sequence)
    clock = 0 if database == "sqlite" else 1
    with sent(store.alias) as statements:
        store.events.purge(older_than=timedelta(days=1), after=0, limit=100)
    assert len(statements) == 1 + clock
    with sent(store.alias) as statements:
        store.events.purge(older_than=timedelta(0), after=0, limit=100)
    assert len(statements) == 2 + clock
    assert not models.Event.objects.using(store.alias).exists()


@pytest.mark.parametrize("database", every_database())
def test_a_run_does_not_find_events_whose_time_is_over(
    database: str,
) -> None:
    store = DjangoStore(alias_of(database))
    run_id = queued(store)
    old, young = emitted(store), emitted(store)
    rows = models.Event.objects.using(store.alias)
    rows.filter(pk=old.sequence).update(received_at=store.now() - Config().event_retention)
    found = store.waits.unseen_events(run_id, "approved", after=0, limit=9)
    assert [event.id for event in found] == [young.id]
