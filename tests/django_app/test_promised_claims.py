"""A claim of a run that was promised a slot takes that slot, and never another."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery.testing.contract.tools import (
    NUDGE_INTERVAL,
    QUEUE,
    TASK,
    admit,
    admitted,
    ask,
    begun,
    end,
    enter_all,
    limit,
    start,
)
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DurableQueue, KeyRate, Run, Slot
from trigger_celery_django.store import DjangoStore

MINUTE = timedelta(minutes=1)
EVERYWHERE = every_database()


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


everywhere = pytest.mark.parametrize("database", EVERYWHERE)
on_postgres = pytest.mark.parametrize(
    "database", [param for param in EVERYWHERE if "postgres" in str(param)]
)


def promised(store: DjangoStore, count: int, *, key: str = "") -> list[UUID]:
    """Return runs that were promised slots, of a task that was limited before."""
    end(store, begun(store))
    runs = enter_all(store, count, key=key)
    assert admitted(store, limit=count) == runs
    return runs


@everywhere
def test_a_promise_becomes_the_slot(store: DjangoStore) -> None:
    limit(store, concurrency=2)
    first, second = promised(store, 2)
    (third,) = enter_all(store, 1)
    leases = [start(store, run_id) for run_id in (first, second)]
    rows = Slot.objects.using(store.alias).filter(pk=first)
    (row,) = rows.values_list("queue", "fence", "promised_at")
    assert row == (QUEUE, leases[0].fence, None)
    assert ask(store, third) is None
    assert len(store.runs.history(first)) == 2


@on_postgres
def test_it_costs_one_round_trip(store: DjangoStore) -> None:
    limit(store, concurrency=2)
    run_id, _ = promised(store, 2)
    with sent(store.alias) as statements:
        claimed = ask(store, run_id)
    assert claimed is not None
    assert claimed.limited == (QUEUE,)
    asked_by_test = 1  # for its task
    assert len(statements) == asked_by_test + 2  # the first only says how to plan the second


@everywhere
def test_a_run_that_ended_and_was_queued_again_lost_its_promise(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    (run_id,) = promised(store, 1)
    run = Run.objects.using(store.alias).filter(pk=run_id)
    run.update(state=RunState.TIMED_OUT, due_at=None)
    start(store, *enter_all(store, 1))
    store.runs.retry(run_id)
    assert ask(store, run_id) is None


@everywhere
def test_a_promise_that_is_old_is_none(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    (run_id,) = promised(store, 1)
    old = store.now() - NUDGE_INTERVAL * 2
    Slot.objects.using(store.alias).filter(pk=run_id).update(promised_at=old)
    start(store, *enter_all(store, 1))
    assert ask(store, run_id) is None


@everywhere
@pytest.mark.parametrize("name", [QUEUE, OF_TASK + TASK, EVERYTHING])
def test_a_lower_or_new_limit_takes_promises_back(store: DjangoStore, name: str) -> None:
    limit(store, concurrency=3)
    first, second, third = promised(store, 3)
    limit(store, name, concurrency=1)
    start(store, first)
    assert ask(store, second) is None
    assert ask(store, third) is None


@everywhere
@pytest.mark.parametrize("name", [QUEUE, EVERYTHING])
def test_a_queue_that_is_paused_keeps_no_promise(store: DjangoStore, name: str) -> None:
    limit(store, concurrency=1)
    (run_id,) = promised(store, 1)
    store.queues.pause(name)
    assert ask(store, run_id) is None
    store.queues.resume(name)
    assert admitted(store) == [run_id]
    start(store, run_id)


@everywhere
def test_starts_of_promised_runs_count_for_rates(store: DjangoStore) -> None:
    rate = Rate(interval=MINUTE, burst=5)
    limit(store, rate=rate, key_rate=rate)
    (run_id,) = promised(store, 1, key="k")
    queues = DurableQueue.objects.using(store.alias).filter(name=QUEUE)
    before = queues.get().due_at
    start(store, run_id)
    after = queues.get().due_at
    assert before is not None
    assert after is not None
    assert after - before == MINUTE
    assert KeyRate.objects.using(store.alias).filter(queue=QUEUE, key="k").exists()


@on_postgres
def test_a_claim_says_whether_enough_promised_runs_follow(store: DjangoStore) -> None:
    limit(store, concurrency=4)
    runs = promised(store, 4)
    found = [ask(store, run_id) for run_id in runs]
    assert [each is not None and each.followed for each in found] == [True, True, False, False]


@on_postgres
def test_runs_of_old_promises_or_other_keys_do_not_follow(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=4)
    runs = promised(store, 4)
    rows = Slot.objects.using(store.alias).filter(pk__in=runs)
    rows.update(promised_at=store.now() - timedelta(seconds=2))
    rows.filter(pk=runs[0]).update(promised_at=store.now())
    claimed = ask(store, runs[0])
    assert claimed is not None
    assert not claimed.followed
    limit(store, concurrency=4, key_concurrency=2)
    admit(store)
    claimed = ask(store, runs[1])
    assert claimed is not None
    assert not claimed.followed
