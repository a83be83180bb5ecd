"""Which of many tenants is next: figures for turns of keys, for head starts and for ageing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from trigger_celery.testing.contract.tools import QUEUE, TASK, admit, end, got, keys_of, start
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Limits, NewRun
from trigger_celery_django.store import DjangoStore

MANY = 10_000
SECOND = timedelta(seconds=1)
EVERYWHERE = pytest.mark.parametrize("database", every_database())


@pytest.fixture
def store(database: str) -> DjangoStore:
    return DjangoStore(alias_of(database))


def wait(store: DjangoStore, *, priority: int = 0, age: int = 0, key: str = "") -> UUID:
    """Let a run wait that might have started so many seconds ago."""
    new = replace(_run(key), priority=priority, available_at=store.now() - age * SECOND)
    store.runs.create([new])
    return new.id


def wait_all(store: DjangoStore, waiting: Mapping[str, int]) -> None:
    """Let so many runs of each key wait, those of the first key before all others."""
    for key, count in waiting.items():
        store.runs.create([_run(key) for _ in range(count)])


def _run(key: str) -> NewRun:
    return NewRun(id=new_id(), task=TASK, input="[]", queue=QUEUE, concurrency_key=key)


def started(store: DjangoStore, count: int, *, at_once: int = 1) -> Sequence[UUID]:
    """Return the next so many that are started, while so many slots are taken and left again."""
    store.queues.declare({QUEUE: Limits(concurrency=at_once)})
    runs: list[UUID] = []
    while len(runs) < count:
        nudges = admit(store).nudges
        assert len(nudges) == at_once
        leases = [start(store, nudge.run_id) for nudge in nudges]
        for lease in leases:
            end(store, lease)
        runs += [lease.run_id for lease in leases]
    return runs


@EVERYWHERE
def test_a_tenant_with_1_run_starts_third_beside_one_with_10_000_and_all_have_equal_shares(
    store: DjangoStore,
) -> None:
    """A has 10,000 runs in line, B has 1 and C has 10, all later ones.

    B's is among the next 3 starts, and C's 10 are among the next 30. When D and E come with
    200 each, A, D and E get 100 of the next 300 starts each, give or take one, though three
    slots are given at a time.
    """
    store.queues.declare({QUEUE: Limits(concurrency=1)})
    wait_all(store, {"a": MANY, "b": 1, "c": 10})
    order = keys_of(store, started(store, 30))
    assert "b" in order[:3]
    assert Counter(order) == {"a": 19, "b": 1, "c": 10}

    wait_all(store, {"d": 200, "e": 200})
    shares = Counter(keys_of(store, started(store, 300, at_once=3)))
    assert set(shares) == {"a", "d", "e"}
    assert all(99 <= share <= 101 for share in shares.values()), shares


@EVERYWHERE
def test_no_run_is_passed_more_than_once_by_each_of_50_other_tenants(
    store: DjangoStore,
) -> None:
    """Of 50 tenants with 4 runs each, one that has just had a turn is 50 starts from its next."""
    store.queues.declare({QUEUE: Limits(concurrency=1)})
    names = [f"{number:02}" for number in range(50)]
    wait_all(store, dict.fromkeys(names, 4))
    order = [got(store, run).spec.concurrency_key for run in started(store, 200)]
    assert [sorted(order[lap : lap + 50]) for lap in range(0, 200, 50)] == [names] * 4


@EVERYWHERE
def test_a_priority_is_a_head_start_of_so_many_seconds(store: DjangoStore) -> None:
    """Priority 60 goes before all that came up to 60 seconds earlier, and after older ones."""
    store.queues.declare({QUEUE: Limits(concurrency=1)})
    older, younger = wait(store, age=70), wait(store, age=50)
    first = wait(store, priority=60)
    last = wait(store, priority=-60, age=40)
    assert started(store, 4) == [older, first, younger, last]


@EVERYWHERE
def test_an_old_run_goes_before_new_ones_once_it_is_older_than_their_head_start(
    store: DjangoStore,
) -> None:
    """A run of priority 0 that has waited for 300 s goes before new ones of priority 299.

    It waits behind at most those that came in its first 300 s: new ones of priority 300 and
    less cannot starve it, however many come.
    """
    store.queues.declare({QUEUE: Limits(concurrency=1)})
    old = wait(store, age=300)
    new = [wait(store, priority=299) for _ in range(5)]
    ahead = wait(store, priority=330)
    assert started(store, 2) == [ahead, old]
    assert set(started(store, 5)) == set(new)


@EVERYWHERE
def test_a_priority_counts_among_the_runs_of_its_key_only(store: DjangoStore) -> None:
    """A tenant that gives all its runs priority 1,000,000 gets every second start, not all."""
    store.queues.declare({QUEUE: Limits(concurrency=1)})
    urgent = [wait(store, key="urgent", priority=1_000_000) for _ in range(5)]
    modest = [wait(store, key="modest") for _ in range(5)]
    order = started(store, 10)
    assert [run in urgent for run in order] in ([True, False] * 5, [False, True] * 5)
    assert set(order) == {*urgent, *modest}
