"""Durable queues in the tables: what admissions cost, which run is next, what is left over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction

from support.databases import alias_of, every_database
from support.store_rows import is_waited_for, sent
from support.waiting import eventually
from trigger_celery.testing.contract.tools import (
    QUEUE,
    TASK,
    admit,
    admitted,
    ask,
    begun,
    end,
    enter,
    got,
    keys_of,
    limit,
    start,
)
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Limits, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DurableQueue, KeyRate, Run, Slot
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.postgresql import admissions
from trigger_celery_django.store.postgresql import connection as sending
from trigger_celery_django.store.queues import waiting as lines

NAMES = ("postgres", "mariadb", "sqlite")
LONG = 5_000
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

everywhere = pytest.mark.parametrize("database", every_database())
for_real = pytest.mark.parametrize("database", every_database(transaction=True))


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


def stand(store: DjangoStore, count: int, *, queue: str = QUEUE, keys: Sequence[str] = "") -> None:
    """Put many runs in line, with these keys in turn."""
    now = store.now()
    at = [now - timedelta(hours=1) + timedelta(milliseconds=number) for number in range(count)]
    runs = [
        Run(
            id=new_id(),
            task=TASK,
            state=RunState.QUEUED,
            input="[]",
            queue=queue,
            concurrency_key=keys[number % len(keys)] if keys else "",
            created_at=now,
            available_at=at[number],
            line_at=at[number],
        )
        for number in range(count)
    ]
    Run.objects.using(store.alias).bulk_create(runs, batch_size=500)
    Slot.objects.using(store.alias).bulk_create(
        (
            Slot(run=run, queue=queue, key=run.concurrency_key, task=TASK, line_at=run.line_at)
            for run in runs
        ),
        batch_size=500,
    )


def places(store: DjangoStore) -> set[UUID]:
    """Return whose places or slots are stored."""
    return set(Slot.objects.using(store.alias).values_list("pk", flat=True))


def _none_in_line(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    return lambda: admit(store)


def _no_room(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    begun(store)
    enter(store)
    return lambda: admit(store)


def _paused(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    enter(store)
    store.queues.pause(QUEUE)
    return lambda: admit(store)


def _one(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    stand(store, 5)
    return lambda: admit(store)


def _one_of_many(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    stand(store, LONG)
    return lambda: admit(store)


def _one_of_a_task(store: DjangoStore) -> Callable[[], object]:
    limit(store, OF_TASK + TASK, concurrency=1)
    enter(store, "")
    return lambda: admit(store, OF_TASK + TASK)


def _fifty_of_many(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=50)
    stand(store, LONG)
    return lambda: admit(store)


def _one_of_many_keys(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1, key_concurrency=1)
    stand(store, LONG, keys=[f"k{number:03}" for number in range(300)])
    return lambda: admit(store)


def _rated(store: DjangoStore) -> Callable[[], object]:
    limit(store, rate=Rate(interval=MINUTE))
    stand(store, LONG)
    return lambda: admit(store)


def _lines(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    stand(store, LONG)
    stand(store, 5, queue="other")
    return store.queues.lines


def _declare_again(store: DjangoStore) -> Callable[[], object]:
    declared = {f"q{number}": Limits(concurrency=number) for number in range(30)}
    store.queues.declare(declared)
    return lambda: store.queues.declare(declared)


def _declare(store: DjangoStore) -> Callable[[], object]:
    limit(store, concurrency=1)
    return lambda: limit(store, concurrency=2)


# PostgreSQL, MariaDB (which needs the names of the queues before it locks them), SQLite.
BUDGETS: dict[str, tuple[Callable[[DjangoStore], Callable[[], object]], tuple[int, int, int]]] = {
    "none in line": (_none_in_line, (2, 3, 2)),
    "no room": (_no_room, (3, 4, 3)),
    "paused": (_paused, (1, 2, 1)),
    "one": (_one, (5, 8, 7)),
    "one of many": (_one_of_many, (5, 8, 7)),
    "one of a task": (_one_of_a_task, (5, 8, 7)),
    "fifty of many": (_fifty_of_many, (5, 8, 7)),
    "one of many keys": (_one_of_many_keys, (6, 9, 8)),
    "with a rate": (_rated, (6, 9, 8)),
    "lines": (_lines, (1, 1, 1)),
    "declare again": (_declare_again, (1, 1, 1)),
    "declare": (_declare, (5, 5, 5)),
}


@pytest.mark.parametrize("name", BUDGETS)
@everywhere
def test_a_verb_sends_exactly_so_many_statements(
    store: DjangoStore, database: str, name: str
) -> None:
    prepare, budget = BUDGETS[name]
    verb = prepare(store)
    with sent(store.alias) as statements:
        verb()
    assert len(statements) == budget[NAMES.index(database)], statements


@everywhere
def test_keys_take_turns_in_a_long_line(store: DjangoStore) -> None:
    limit(store, concurrency=1_000)
    stand(store, 300, keys="a")
    stand(store, 30, keys="bc")
    found = keys_of(store, admitted(store, limit=90))
    assert found[:45] == "abc" * 15
    assert found[45:] == "a" * 45
    stand(store, 2, keys="bd")
    assert keys_of(store, admitted(store, limit=6)) == "bdaaaa"


@everywhere
def test_a_key_is_found_behind_hundreds_that_are_full(store: DjangoStore) -> None:
    limit(store, key_concurrency=1)
    names = [f"k{number:04}" for number in range(1_200)]
    stand(store, len(names), keys=names)
    found = admit(store, limit=600)
    promised = len(found.nudges)
    while found.more:
        found = admit(store, limit=600)
        promised += len(found.nudges)
    assert promised == len(names)
    stand(store, len(names), keys=names)
    stand(store, 1, keys=["z"])
    late = [run_id for _ in range(4) for run_id in admitted(store, limit=600)]
    assert keys_of(store, late) == "z"


@everywhere
def test_a_run_that_cannot_start_leaves_the_line_and_holds_up_no_other(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    stand(store, 400)
    runs = Run.objects.using(store.alias)
    runs.update(paused_at=store.now())
    ended = enter(store, priority=7_200)
    store.runs.cancel(ended, "")
    waiting = enter(store)
    found = admit(store)
    while found.more and not found.nudges:
        found = admit(store)
    assert [nudge.run_id for nudge in found.nudges] == [waiting]
    assert places(store) == {waiting}
    paused = runs.exclude(paused_at=None).first()
    assert paused is not None
    end(store, start(store, waiting))
    assert store.managing.resume(paused.pk, {}) is not None
    start(store, paused.pk)


@everywhere
def test_a_run_that_joins_while_an_admission_is_on_its_way_keeps_its_place(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=1)
    run_id = enter(store)
    Run.objects.using(store.alias).filter(pk=run_id).update(
        available_at=datetime.now(UTC) + SECOND * 5
    )
    assert admitted(store) == [run_id]


@everywhere
def test_keys_of_a_line_without_limits_of_its_own_take_turns_too(store: DjangoStore) -> None:
    limit(store, EVERYTHING, concurrency=1)
    line = OF_TASK + TASK
    for key in "aaabbb":
        enter(store, "", key=key)
    found = ""
    for _ in range(4):
        [run_id] = admitted(store, line)
        found += keys_of(store, [run_id])
        end(store, start(store, run_id))
    assert found == "abab"


@everywhere
def test_runs_that_execute_get_slots_when_their_queue_becomes_limited(store: DjangoStore) -> None:
    limit(store)
    free = [begun(store, key="k"), begun(store), begun(store, "other"), begun(store, "")]
    assert places(store) == set()
    limit(store, concurrency=3)
    assert places(store) == {free[0].run_id, free[1].run_id}
    taken = Slot.objects.using(store.alias).get(pk=free[0].run_id)
    assert (taken.queue, taken.key, taken.task, taken.fence) == (QUEUE, "k", TASK, free[0].fence)
    start(store, enter(store))
    assert ask(store, enter(store)) is None
    assert store.queues.pause(EVERYTHING)
    assert {lease.run_id for lease in free} <= places(store)


@everywhere
def test_only_executing_runs_of_the_task_get_slots(store: DjangoStore) -> None:
    mine, other = begun(store, ""), begun(store, "", task="other")
    queued = enter(store, "")
    limit(store, OF_TASK + TASK, concurrency=1)
    assert places(store) == {mine.run_id}
    assert ask(store, queued) is None
    assert got(store, other.run_id).state is RunState.EXECUTING


@everywhere
def test_a_slot_of_an_earlier_life_is_replaced_when_its_run_has_to_be_counted(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=1)
    lease = begun(store)
    limit(store)
    store.runs.hand_back(lease, "t")
    again = start(store, lease.run_id)
    limit(store, concurrency=1)
    row = Slot.objects.using(store.alias).get()
    assert (row.pk, row.fence) == (lease.run_id, again.fence)
    assert ask(store, enter(store)) is None


@everywhere
def test_a_cleanup_looks_through_a_long_line_in_pieces(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    stand(store, 1_200)
    ended = Run.objects.using(store.alias).order_by("-pk").first()
    assert ended is not None
    store.runs.cancel(ended.pk, "")
    assert [store.queues.clean_up(limit=9) for _ in range(4)] == [0, 0, 1, 0]
    assert len(places(store)) == 1_199


@everywhere
def test_a_cleanup_stops_at_its_limit(store: DjangoStore) -> None:
    limit(store, concurrency=9, key_rate=Rate(interval=SECOND))
    for _ in range(3):
        end(store, begun(store))
    past = store.now() - MINUTE
    rates = KeyRate.objects.using(store.alias)
    rates.bulk_create(KeyRate(queue=QUEUE, key=str(n), due_at=past) for n in range(3))
    rates.create(queue=QUEUE, key="busy", due_at=past + timedelta(hours=1))
    assert [store.queues.clean_up(limit=2) for _ in range(3)] == [4, 2, 0]
    assert list(rates.values_list("key", flat=True)) == ["busy"]


@everywhere
def test_slots_of_ended_runs_are_deleted_now_and_then(store: DjangoStore) -> None:
    limit(store, concurrency=9)
    end(store, begun(store))
    for _ in range(50):
        admit(store)
    assert places(store) == set()


def _together(store: DjangoStore, number: int, work: Callable[[], list[UUID]]) -> list[UUID]:
    """Return what threads found that begin at one moment, each on its connection."""
    line = Barrier(number)

    def begin() -> list[UUID]:
        line.wait(timeout=30)
        return _and_release(store, work)

    with ThreadPoolExecutor(number) as pool:
        begun = [pool.submit(begin) for _ in range(number)]
        return [run_id for each in begun for run_id in each.result(timeout=60)]


def _and_release(store: DjangoStore, work: Callable[[], list[UUID]]) -> list[UUID]:
    try:
        return work()
    finally:
        store.release()


@for_real
def test_admissions_at_the_same_time_promise_no_slot_twice(store: DjangoStore) -> None:
    limit(store, concurrency=7)
    stand(store, 20, keys="abc")
    found = _together(store, 4, lambda: admitted(store, limit=5))
    assert len(found) == len(set(found)) == 7


@for_real
def test_admissions_to_what_was_limited_promise_no_run_twice(store: DjangoStore) -> None:
    limit(store, EVERYTHING, concurrency=0)
    run_ids = [enter(store, "any") for _ in range(12)]
    limit(store, EVERYTHING)
    assert store.queues.get("any") is None
    found = _together(store, 3, lambda: admitted(store, "any"))
    assert sorted(found) == sorted(run_ids)


@pytest.mark.parametrize(
    "database", [param for param in every_database(transaction=True) if "sqlite" not in str(param)]
)
@pytest.mark.parametrize("gate", [QUEUE, OF_TASK + TASK, EVERYTHING])
def test_an_admission_sees_a_run_that_joined_while_it_waited_for_the_locks(
    store: DjangoStore, gate: str
) -> None:
    limit(store, gate, concurrency=1)
    run = got(store, enter(store))
    Slot.objects.using(store.alias).filter(pk=run.id).delete()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=store.alias):
            queues = DurableQueue.objects.using(store.alias).select_for_update()
            assert queues.get(pk=gate).limited
            admission = pool.submit(_and_release, store, lambda: admitted(store))
            eventually(lambda: is_waited_for(store.alias))
            Slot.objects.using(store.alias).create(
                run_id=run.id, queue=QUEUE, task=TASK, line_at=run.line_at
            )
        assert admission.result(timeout=30) == [run.id]


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")])
def test_neither_lines_nor_rates_nor_ended_runs_are_read_as_a_whole() -> None:
    store = DjangoStore(alias_of("postgres"))
    limit(store, concurrency=1, key_concurrency=1, key_rate=Rate(interval=SECOND))
    limit(store, EVERYTHING, concurrency=9)
    stand(store, LONG)
    stand(store, LONG, keys="abc")
    stand(store, LONG, queue="other")
    runs = Run.objects.using(store.alias)
    Slot.objects.using(store.alias).filter(queue="other").delete()
    runs.filter(queue="other").update(state=RunState.COMPLETED, finished_at=store.now())
    past = store.now() - MINUTE
    KeyRate.objects.using(store.alias).bulk_create(
        KeyRate(queue=QUEUE, key=f"idle{number}", due_at=past + MINUTE * 9)
        for number in range(LONG)
    )
    begun(store)
    with connections[store.alias].cursor() as cursor:
        cursor.execute("ANALYZE")
    plans = _plans(store, lambda: admit(store)) + _plans(store, store.queues.lines)
    plans += _plans(store, lambda: store.queues.clean_up(limit=9))
    small = DurableQueue._meta.db_table
    whole = [plan for plan in plans if "Seq Scan" in plan.replace(f"Seq Scan on {small}", "")]
    assert whole == []
    text = "\n".join(plans)
    for index in ("trigger_slot_line", "trigger_slot_held", "trigger_key_rate"):
        assert index in text


def _plans(store: DjangoStore, verb: Callable[[], object]) -> list[str]:
    """Run the verb and return how PostgreSQL would run its statements again."""
    found: list[tuple[str, Any]] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    def keep_raw(connection: Any, sql: str, params: Any, prepare: bool = True) -> Any:
        found.append((sql, params))
        return sending.execute(connection, sql, params, prepare)

    with pytest.MonkeyPatch.context() as patch, connections[store.alias].execute_wrapper(keep):
        patch.setattr(admissions, "execute", keep_raw)
        verb()
    plans = []
    with connections[store.alias].cursor() as cursor:
        for statement, parameters in found:
            if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
    return plans


@pytest.mark.requires("mariadb")
@pytest.mark.django_db(databases=[alias_of("mariadb")], transaction=True)  # to analyze commits
def test_mariadb_skips_along_its_index_and_sorts_no_line() -> None:
    store = DjangoStore(alias_of("mariadb"))
    stand(store, LONG, keys=[f"k{number:02}" for number in range(50)])
    with connections[store.alias].cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {Slot._meta.db_table}")
        cursor.fetchall()
        read = _rows_read(cursor, lambda: lines.lines(connections[store.alias]))
        walked = _rows_read(
            cursor, lambda: lines.sub_lines(connections[store.alias], QUEUE, "k20", 500)
        )
        first = _rows_read(
            cursor, lambda: lines.places(connections[store.alias], QUEUE, [("k07", TASK, 1)])
        )
    assert read < 20
    assert walked < 300
    assert first < 20


def _rows_read(cursor: Any, work: Callable[[], object]) -> int:
    """Return how many rows the server looked at for this, by its own counters."""
    cursor.execute("FLUSH STATUS")
    work()
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(number) for _, number in cursor.fetchall())
