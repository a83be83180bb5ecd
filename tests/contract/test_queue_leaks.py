"""However a run leaves its queue, its slot comes back and its place in line goes."""

from __future__ import annotations

from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from trigger_celery.testing.contract.tools import (
    QUEUE,
    admitted,
    ask,
    begun,
    end,
    ending,
    enter,
    enter_all,
    got,
    start,
)
from trigger_celery.vocabulary.records import Limits
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Run, Slot
from trigger_celery_django.store import DjangoStore

ONE = Limits(concurrency=1)
EVERYWHERE = pytest.mark.parametrize("database", every_database())


@pytest.fixture
def store(database: str) -> DjangoStore:
    store = DjangoStore(alias_of(database))
    store.queues.declare({QUEUE: ONE})
    return store


def check_empty(store: DjangoStore) -> None:
    """Check that no run holds a slot or waits, and that a cleanup leaves no row."""
    assert list(store.queues.loads()) == []
    assert store.queues.holders(QUEUE, limit=10) == []
    while store.queues.clean_up(limit=10):
        pass
    assert Slot.objects.using(store.alias).count() == 0


def drain(store: DjangoStore, count: int) -> list[UUID]:
    """Start and end so many runs one after the other; return them."""
    runs: list[UUID] = []
    for _ in range(count):
        (run_id,) = admitted(store)
        end(store, start(store, run_id))
        runs.append(run_id)
    return runs


@EVERYWHERE
def test_the_slot_of_a_run_that_was_deleted_is_free(store: DjangoStore) -> None:
    lease = begun(store)
    waiting = enter_all(store, 3)
    assert admitted(store) == []
    Run.objects.using(store.alias).filter(pk=lease.run_id).delete()
    assert drain(store, 3) == waiting
    check_empty(store)


@EVERYWHERE
def test_rows_that_were_deleted_past_django_neither_hold_slots_nor_wait(store: DjangoStore) -> None:
    holder, place, promised = begun(store).run_id, enter(store), enter(store)
    last = enter(store)
    gone = Run.objects.using(store.alias).filter(pk__in=[holder, place, promised])
    Slot.objects.using(store.alias).filter(pk=promised).update(promised_at=store.now())
    gone._raw_delete(store.alias)
    assert admitted(store) == [last]
    end(store, start(store, last))
    assert admitted(store) == []
    check_empty(store)


@EVERYWHERE
def test_a_cleanup_stops_at_its_limit_of_rows_without_runs(store: DjangoStore) -> None:
    lease, *waiting = begun(store), *enter_all(store, 3)
    runs = Run.objects.using(store.alias)
    runs.filter(pk__in=[lease.run_id, *waiting[:2]])._raw_delete(store.alias)
    assert [store.queues.clean_up(limit=2) for _ in range(3)] == [2, 1, 0]
    assert [slot.pk for slot in Slot.objects.using(store.alias)] == [waiting[2]]


@EVERYWHERE
def test_a_failed_run_holds_nothing_and_its_retry_takes_its_old_place(store: DjangoStore) -> None:
    lease = begun(store)
    store.runs.end(lease, ending(RunState.FAILED, error="{}", publish=False))
    waiting = enter_all(store, 2)
    (first,) = admitted(store)
    held = start(store, first)
    store.runs.retry(lease.run_id)
    assert ask(store, lease.run_id) is None  # its nudge comes while the slot is taken
    assert got(store, lease.run_id).due_at is None
    end(store, held)
    assert drain(store, 2) == sorted(
        [lease.run_id, *(run for run in waiting if run != first)],
        key=lambda run: got(store, run).line_at,
    )
    check_empty(store)


@EVERYWHERE
def test_the_rows_of_a_queue_that_code_calls_otherwise_now_drain(store: DjangoStore) -> None:
    held, waiting = begun(store), enter_all(store, 3)
    store.queues.declare({"renamed": ONE})
    other = begun(store, "renamed")
    assert ask(store, enter(store, "renamed")) is None
    assert admitted(store) == []
    end(store, held)
    assert drain(store, 3) == waiting
    end(store, other)
    (last,) = admitted(store, "renamed")
    end(store, start(store, last))
    check_empty(store)
