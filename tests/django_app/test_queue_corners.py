"""Corners of durable queues: a caller's transaction that holds up a run must not hold up others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from support.databases import alias_of, every_database
from trigger_celery.client.access import using_engine
from trigger_celery.client.queues import limit_queue
from trigger_celery.declare.definition import TaskRegistry
from trigger_celery.engine.core import Engine
from trigger_celery.testing.contract.tools import (
    QUEUE,
    admitted,
    ask,
    begun,
    end,
    enter,
    got,
    limit,
    start,
    stored,
)
from trigger_celery.vocabulary.records import Limits
from trigger_celery_django.models import DurableQueue, Run, Slot
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.queues.admission_rows import AdmissionRows

POSTGRES = [param for param in every_database(transaction=True) if "postgres" in str(param)]
SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


def _released(store: DjangoStore, work: Callable[[], object]) -> object:
    try:
        return work()
    finally:
        store.release()


@contextmanager
def locked(store: DjangoStore, run_id: UUID) -> Iterator[Callable[[Callable[[], object]], object]]:
    """Hold a run as the caller of a debounced trigger does, until the end of the block.

    Gives what calls a function in another thread, which must not wait for that.
    """

    def elsewhere(work: Callable[[], object]) -> object:
        calls.append(pool.submit(_released, store, work))
        return calls[-1].result(timeout=15)

    calls: list[Future[object]] = []
    with ThreadPoolExecutor(1) as pool, transaction.atomic(using=store.alias):
        Run.objects.using(store.alias).select_for_update().get(pk=run_id)
        yield elsewhere


@pytest.mark.parametrize("database", POSTGRES)
def test_a_claim_of_a_run_that_a_caller_holds_does_not_hold_up_its_queue(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=2)
    held, other = enter(store), enter(store)
    with locked(store, held) as elsewhere:
        assert elsewhere(lambda: ask(store, held)) is None
        assert elsewhere(lambda: ask(store, other)) is not None
    start(store, held)


@pytest.mark.parametrize("database", SERVERS)
def test_an_admission_of_a_run_that_a_caller_holds_does_not_hold_up_its_queue(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=1)
    lease = start(store, enter(store))
    held, other = enter(store, priority=9), enter(store)
    end(store, lease)
    with locked(store, held) as elsewhere:
        assert elsewhere(lambda: admitted(store)) == [held]  # nudged, but promised nothing
        assert elsewhere(lambda: ask(store, other)) is not None
    assert got(store, held).due_at is None
    assert Slot.objects.using(store.alias).get(pk=held).promised_at is None


@pytest.mark.parametrize("database", SERVERS)
def test_runs_are_counted_while_a_caller_holds_one_that_waits(store: DjangoStore) -> None:
    executing, held = begun(store), enter(store)
    with locked(store, held) as elsewhere:
        elsewhere(lambda: limit(store, concurrency=1))
    assert [holder.run_id for holder in store.queues.holders(QUEUE, limit=9)] == [executing.run_id]


@pytest.mark.parametrize("database", SERVERS)
def test_a_run_is_counted_once_its_caller_lets_it_go(store: DjangoStore) -> None:
    executing, other = begun(store), begun(store)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=store.alias):
            Run.objects.using(store.alias).select_for_update().get(pk=executing.run_id)
            limiting = pool.submit(_released, store, lambda: limit(store, concurrency=2))
            with pytest.raises(TimeoutError):
                limiting.result(timeout=0.5)
        limiting.result(timeout=15)
    held = {holder.run_id for holder in store.queues.holders(QUEUE, limit=9)}
    assert held == {executing.run_id, other.run_id}


@pytest.mark.parametrize("database", SERVERS)
def test_two_callers_that_change_different_limits_at_once_lose_none(store: DjangoStore) -> None:
    limit(store, concurrency=1)
    engine = Engine(store=store, tasks=TaskRegistry())

    def change(**given: Any) -> object:
        return _released(store, lambda: limit_queue(QUEUE, **given))

    with using_engine(engine), ThreadPoolExecutor(2) as pool:
        with transaction.atomic(using=store.alias):
            DurableQueue.objects.using(store.alias).select_for_update().get(pk=QUEUE)
            changes = [pool.submit(change, concurrency_limit=5), pool.submit(change, key_limit=2)]
            assert not wait(changes, timeout=0.5).done  # both have read what there was
        assert [each.result(timeout=15) for each in changes] == [True, True]
    assert stored(store).limits == Limits(concurrency=5, key_concurrency=2)


@pytest.mark.parametrize("database", every_database())
def test_a_run_that_rejoins_keeps_the_place_that_was_to_be_removed(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(store, concurrency=1)
    lease = begun(store)
    back, paused = enter(store), enter(store)
    end(store, lease)
    for run_id in (back, paused):
        store.managing.pause(run_id, {})
    remove = AdmissionRows.remove

    def after_a_resume(rows: AdmissionRows, gone: Collection[UUID], now: datetime) -> int:
        # As its claim leaves it, which finds no slot once it was resumed.
        Run.objects.using(store.alias).filter(pk=back).update(paused_at=None, due_at=None)
        return remove(rows, gone, now)

    monkeypatch.setattr(AdmissionRows, "remove", after_a_resume)
    assert admitted(store) == []
    assert [slot.pk for slot in Slot.objects.using(store.alias).filter(fence=None)] == [back]
    assert admitted(store) == [back]


@pytest.mark.parametrize("database", SERVERS)
def test_a_run_that_a_caller_holds_keeps_its_place_though_it_cannot_start(
    store: DjangoStore,
) -> None:
    limit(store, concurrency=1)
    held, other = enter(store), enter(store)
    store.managing.pause(held, {})
    with locked(store, held) as elsewhere:
        assert elsewhere(lambda: admitted(store)) == [other]
    assert Slot.objects.using(store.alias).filter(pk=held).exists()
