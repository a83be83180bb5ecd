"""A claim of a limited run takes a slot in the tables, or stands in line there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Event
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction

from support.databases import alias_of, every_database
from support.store_rows import is_waited_for, sent
from support.waiting import eventually
from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing.contract.tools import (
    NUDGE_INTERVAL,
    QUEUE,
    TASK,
    ask,
    asked,
    claim,
    end,
    ending,
    enter,
    got,
    new_run,
    run_in,
    start,
)
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.lifecycle import EARLIEST, line_at
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Claimed, Limits, NewRun, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import DurableQueue, KeyRate, Run, Slot
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.postgresql import claims
from trigger_celery_django.store.queues.limits import declared_text

MINUTE = timedelta(minutes=1)
ONE = Limits(concurrency=1)
EVERYWHERE = every_database()
NAMES = ("postgres", "mariadb", "sqlite")


def limit(store: DjangoStore, name: str = QUEUE, limits: Limits = ONE, **columns: Any) -> None:
    """Store the limits of a queue."""
    columns = {"declared": declared_text(limits), "limited": limits != Limits(), **columns}
    DurableQueue.objects.using(store.alias).update_or_create(name=name, defaults=columns)


def slot(store: DjangoStore, run_id: UUID) -> Slot:
    """Return the row of a run that has one."""
    return Slot.objects.using(store.alias).get(pk=run_id)


def held(store: DjangoStore) -> list[UUID]:
    """Return whose slots have a fence."""
    rows = Slot.objects.using(store.alias).exclude(fence=None)
    return list(rows.values_list("pk", flat=True))


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


everywhere = pytest.mark.parametrize("database", EVERYWHERE)


@everywhere
def test_the_slot_has_the_fence_of_the_claim(store: DjangoStore) -> None:
    limit(store)
    first, second = enter(store, key="k", priority=5), enter(store)
    lease = start(store, first)
    taken, run = slot(store, first), got(store, first)
    assert (taken.queue, taken.key, taken.task) == (QUEUE, "k", TASK)
    assert (taken.fence, taken.promised_at, taken.line_at) == (lease.fence, None, run.line_at)
    assert ask(store, second) is None
    waiting = slot(store, second)
    assert (waiting.fence, waiting.promised_at) == (None, None)
    assert (got(store, second).due_at, got(store, second).fence) == (None, 0)


@everywhere
def test_a_run_that_may_start_stands_in_line_from_its_creation(store: DjangoStore) -> None:
    limit(store)
    limit(store, OF_TASK + "other")
    now, later, free = run_in(), run_in(delay=MINUTE), run_in("free")
    lone = replace(new_run(), task="other", priority=60)
    created = store.runs.create([now, later, free, lone])
    assert set(created) == {now.id, later.id, free.id, lone.id}
    assert created.lines == {now.id: QUEUE, lone.id: OF_TASK + "other"}
    due = [got(store, new.id).due_at is None for new in (now, later, free, lone)]
    assert due == [True, False, False, True]
    places = Slot.objects.using(store.alias).values_list("pk", "queue", "task", "fence")
    assert set(places) == {
        (now.id, QUEUE, TASK, None),
        (lone.id, OF_TASK + "other", "other", None),
    }
    run = got(store, lone.id)
    assert slot(store, lone.id).line_at == run.line_at == run.available_at - MINUTE
    assert store.runs.create([now]).lines == {}


@everywhere
def test_children_that_may_start_stand_in_line(store: DjangoStore) -> None:
    parent = store.runs.claim(asked(_created(store, new_run())))
    assert parent is not None
    limit(store)
    child = replace(run_in(), parent_id=parent.run.id, parent_key="k")
    created = store.children.create(parent.lease, [child])
    assert set(created) == {child.id}
    assert created.lines == {child.id: QUEUE}


@everywhere
def test_a_priority_of_68_years_and_more_is_a_place_in_line(store: DjangoStore) -> None:
    for priority in (2**31 - 1, -(2**31) + 1):
        run = got(store, enter(store, priority=priority))
        assert run.line_at == line_at(run.available_at, priority)
    early = replace(run_in(priority=2**31 - 1), available_at=EARLIEST)
    assert got(store, _created(store, early)).line_at == EARLIEST


@everywhere
def test_each_key_has_its_limit(store: DjangoStore) -> None:
    limit(store, limits=Limits(key_concurrency=1))
    start(store, enter(store, key="a"))
    assert ask(store, enter(store, key="a")) is None
    for key in ("b", "A", "", ""):
        start(store, enter(store, key=key))


@everywhere
def test_limits_of_deployment_task_and_queue_hold_at_once(store: DjangoStore) -> None:
    limit(store, EVERYTHING, Limits(concurrency=3))
    limit(store, OF_TASK + TASK, Limits(concurrency=2))
    limit(store)
    claimed = ask(store, enter(store))
    assert claimed is not None
    assert claimed.limited == (EVERYTHING, QUEUE, OF_TASK + TASK)
    assert ask(store, enter(store)) is None  # by its queue
    start(store, enter(store, "", task=TASK))
    assert ask(store, enter(store, "free")) is None  # by its task
    start(store, enter(store, "free", task="t2"))
    assert ask(store, enter(store, "", task="t3")) is None  # by the deployment
    assert ask(store, enter(store, OF_TASK + TASK, task="t2")) is None


@everywhere
def test_a_run_of_another_task_in_the_queue_of_a_task_counts_there(store: DjangoStore) -> None:
    limit(store, OF_TASK + TASK)
    lease = start(store, enter(store, OF_TASK + TASK, task="another"))
    assert ask(store, enter(store, "")) is None
    assert ask(store, enter(store, "some queue")) is None
    end(store, lease)
    start(store, enter(store, "some queue"))
    assert ask(store, enter(store, OF_TASK + TASK, task="another")) is None


@everywhere
def test_a_paused_queue_and_one_with_a_limit_of_0_start_nothing(store: DjangoStore) -> None:
    limit(store, "paused", Limits(), limited=True, paused_at=store.now())
    limit(store, "zero", Limits(concurrency=0))
    for name in ("paused", "zero"):
        run_id = enter(store, name)
        assert ask(store, run_id) is None
        assert slot(store, run_id).queue == name


@everywhere
def test_an_override_stands_in_for_what_is_declared(store: DjangoStore) -> None:
    limit(store, overrides='{"concurrency": null, "rate": [3600, 2]}')
    start(store, enter(store))
    start(store, enter(store))
    assert ask(store, enter(store)) is None


@everywhere
def test_a_rate_refuses_until_the_next_start_is_due(store: DjangoStore) -> None:
    limit(store, limits=Limits(rate=Rate(interval=MINUTE)))
    queues = DurableQueue.objects.using(store.alias).filter(name=QUEUE)
    lease = start(store, enter(store))
    run = got(store, lease.run_id)
    assert run.started_at is not None
    due_at = queues.get().due_at
    assert due_at is not None
    assert abs(due_at - run.started_at - MINUTE) < timedelta(seconds=5)
    second = enter(store)
    assert ask(store, second) is None
    assert queues.get().due_at == due_at
    store.runs.hand_back(lease, new_token())
    start(store, lease.run_id)  # it was started before
    assert queues.get().due_at == due_at
    queues.update(due_at=store.now())
    start(store, second)
    assert ask(store, enter(store)) is None


@everywhere
def test_a_rate_of_keys_is_kept_for_each(store: DjangoStore) -> None:
    limit(store, limits=Limits(rate=Rate(interval=MINUTE, burst=9), key_rate=Rate(interval=MINUTE)))
    start(store, enter(store, key="a"))
    assert ask(store, enter(store, key="a")) is None
    start(store, enter(store, key="b"))
    start(store, enter(store))
    start(store, enter(store))
    rates = KeyRate.objects.using(store.alias).filter(queue=QUEUE)
    assert sorted(rates.values_list("key", flat=True)) == ["a", "b"]
    rates.filter(key="a").update(due_at=store.now())
    start(store, enter(store, key="a"))
    assert ask(store, enter(store, key="a")) is None
    assert rates.count() == 2


@everywhere
def test_a_crashed_or_canceled_run_holds_no_slot(store: DjangoStore) -> None:
    limit(store)
    first = start(store, enter(store))
    store.runs.recover(first.run_id, "w1")
    second = start(store, enter(store))
    assert ask(store, first.run_id) is None
    store.runs.cancel(second.run_id, "{}")
    again = start(store, first.run_id)
    assert (again.fence, slot(store, again.run_id).fence) == (2, 2)
    store.runs.recover(again.run_id, "w1")
    start(store, enter(store))


@everywhere
def test_a_claim_that_is_repeated_is_answered_alike(store: DjangoStore) -> None:
    limit(store)
    limit(store, EVERYTHING, Limits(concurrency=9))
    question = asked(enter(store))
    answers = [store.runs.claim(question) for _ in range(2)]
    assert answers[0] is not None
    assert answers[0].limited == (EVERYTHING, QUEUE)
    assert answers == [answers[0]] * 2
    assert len(store.runs.history(question.run_id)) == 2
    assert held(store) == [question.run_id]


@everywhere
def test_publishing_needs_no_slot(store: DjangoStore) -> None:
    limit(store)
    lease = start(store, enter(store))
    store.runs.end(lease, ending(publish_within=timedelta(0)))
    start(store, enter(store))
    claimed = claim(store, lease.run_id)
    assert (claimed.publishing, claimed.limited) == (True, ())
    assert slot(store, lease.run_id).fence == lease.fence


@everywhere
def test_a_promise_counts_while_it_is_fresh_and_for_its_own_run_never(store: DjangoStore) -> None:
    limit(store)
    promised, other = enter(store), enter(store)
    rows = Slot.objects.using(store.alias).filter(pk=promised)
    rows.update(promised_at=store.now())
    assert ask(store, other) is None
    lease = start(store, promised)
    assert (rows.get().promised_at, rows.get().fence) == (None, lease.fence)
    end(store, lease)
    third = enter(store)
    stale = store.now() - NUDGE_INTERVAL
    Slot.objects.using(store.alias).filter(pk=third).update(promised_at=stale)
    start(store, other)


@everywhere
def test_only_a_run_that_can_be_claimed_is_put_in_line(store: DjangoStore) -> None:
    limit(store, limits=Limits(concurrency=0))
    delayed, ended = _created(store, run_in(delay=MINUTE)), enter(store)
    store.runs.cancel(ended, "{}")
    assert ask(store, delayed) is None
    assert got(store, delayed).due_at is not None
    assert not Slot.objects.using(store.alias).filter(pk=delayed).exists()
    paused = enter(store, "free")
    store.managing.pause(paused, {})
    limit(store, "free", Limits(concurrency=0))
    assert ask(store, paused) is None
    assert not Slot.objects.using(store.alias).filter(pk=paused).exists()
    assert store.runs.claim(asked(enter(store), task="not its task")) is None


@everywhere
def test_a_task_that_was_limited_is_claimed_like_any_other_afterwards(store: DjangoStore) -> None:
    limit(store)
    start(store, enter(store))
    free, waiting, late = enter(store, "free"), enter(store), enter(store)
    assert claim(store, free).limited == ()
    limit(store, limits=Limits())
    claimed = claim(store, waiting)
    assert claimed.limited == ()
    store.runs.end(claimed.lease, ending(publish_within=timedelta(0)))
    limit(store)
    assert ask(store, late) is None
    assert claim(store, waiting).publishing


@pytest.mark.parametrize("database", [param for param in EVERYWHERE if "postgres" in str(param)])
def test_claims_delete_slots_of_runs_that_moved_on(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "STALE", 3)
    limit(store, limits=Limits(concurrency=5))
    live = start(store, enter(store))
    gone = [start(store, enter(store)) for _ in range(3)]
    waiting = enter(store)
    for lease in gone:
        end(store, lease)
    last = start(store, enter(store))
    assert set(held(store)) == {live.run_id, last.run_id}
    assert slot(store, waiting).fence is None


@everywhere
def test_a_run_that_is_put_off_keeps_its_priority(store: DjangoStore) -> None:
    run_id = _created(store, run_in(delay=MINUTE, priority=7))
    before = got(store, run_id)
    store.managing.reschedule(run_id, {}, delay=MINUTE * 9)
    run = got(store, run_id)
    assert run.available_at - before.available_at > MINUTE * 7
    assert run.available_at - run.line_at == timedelta(seconds=7)


def _created(store: DjangoStore, new: NewRun) -> UUID:
    store.runs.create([new])
    return new.id


# PostgreSQL, MariaDB, SQLite: BEGIN and COMMIT are not among them.
BUDGETS = {
    "claim": (5, 9, 9),
    "claim again": (5, 9, 9),
    "claim with rates": (5, 12, 12),
    "stand in line": (5, 8, 8),
    "claim when no longer limited": (5, 3, 3),
}


@pytest.mark.parametrize("name", BUDGETS)
@everywhere
def test_a_limited_claim_sends_exactly_so_many_statements(
    store: DjangoStore, database: str, name: str
) -> None:
    rates = Limits(rate=Rate(interval=MINUTE, burst=9), key_rate=Rate(interval=MINUTE, burst=9))
    limit(store, limits=rates if "rates" in name else Limits(concurrency=2))
    if name in ("claim again", "stand in line", "claim when no longer limited"):
        start(store, enter(store))
    if name == "stand in line":
        start(store, enter(store))
    question = asked(enter(store, key="k"))
    if name == "claim when no longer limited":
        limit(store, limits=Limits())
    with sent(store.alias) as statements:
        granted = store.runs.claim(question)
    assert (granted is None) == (name == "stand in line")
    assert len(statements) == BUDGETS[name][NAMES.index(database)], statements


SERVERS = [param for param in every_database(transaction=True) if "sqlite" not in str(param)]


@pytest.mark.parametrize("database", [param for param in SERVERS if "mariadb" in str(param)])
def test_a_claim_counts_runs_that_started_meanwhile_however_long_its_snapshots_last(
    store: DjangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections[store.alias].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", "repeatable read")  # of new connections
    _claim_while_another_starts(store)


@pytest.mark.parametrize("database", SERVERS)
def test_a_claim_counts_runs_that_started_while_it_waited_for_the_locks(store: DjangoStore) -> None:
    _claim_while_another_starts(store)


def _claim_while_another_starts(store: DjangoStore) -> None:
    limit(store)
    first, second = enter(store), enter(store)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=store.alias):
            queues = DurableQueue.objects.using(store.alias).select_for_update()
            assert queues.get(name=QUEUE).limited
            late = pool.submit(_ask_and_release, store, second)
            eventually(lambda: is_waited_for(store.alias))
            runs = Run.objects.using(store.alias).filter(pk=first)
            runs.update(state=RunState.EXECUTING, fence=1)
            Slot.objects.using(store.alias).filter(pk=first).update(fence=1)
        assert late.result(timeout=30) is None
    assert held(store) == [first]


@pytest.mark.parametrize("database", [param for param in SERVERS if "postgres" in str(param)])
def test_a_claim_that_gets_no_lock_leaves_the_connection_as_it_was(store: DjangoStore) -> None:
    limit(store)
    first, second = enter(store), enter(store)
    end(store, start(store, first))  # from now on its task is known to be limited
    held_up, over = Event(), Event()

    def hold() -> None:
        with transaction.atomic(using=store.alias):
            queues = DurableQueue.objects.using(store.alias).select_for_update()
            assert queues.get(name=QUEUE).limited
            held_up.set()
            over.wait(timeout=30)
        store.release()

    with ThreadPoolExecutor(1) as pool, connections[store.alias].cursor() as cursor:
        holder = pool.submit(hold)
        assert held_up.wait(timeout=30)
        cursor.execute("SET lock_timeout = 1")
        with pytest.raises(StoreUnavailable):
            ask(store, second)
        cursor.execute("RESET lock_timeout")
        over.set()
        holder.result(timeout=30)
    start(store, second)


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_of_claims_at_one_moment_one_gets_the_slot(store: DjangoStore) -> None:
    limit(store)
    for _ in range(5):
        run_ids, together = [enter(store) for _ in range(4)], Barrier(4)

        def compete(run_id: UUID, together: Barrier = together) -> Claimed | None:
            together.wait(timeout=30)
            return _ask_and_release(store, run_id)

        with ThreadPoolExecutor(4) as pool:
            (granted,) = [found for found in pool.map(compete, run_ids) if found is not None]
        states = [got(store, run_id).state for run_id in run_ids]
        assert states.count(RunState.EXECUTING) == 1
        end(store, granted.lease)


def _ask_and_release(store: DjangoStore, run_id: UUID) -> Claimed | None:
    try:
        return ask(store, run_id)
    finally:
        store.release()
