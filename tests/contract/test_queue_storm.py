"""Fifty claimers at once on each database: never more than the limit, at any instant of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.databases import alias_of, every_database
from support.queue_monitor import QueueMonitor, monitored, of_key
from support.storm import SEED, Storm
from support.waiting import eventually
from trigger_celery.engine.queues import admission
from trigger_celery.vocabulary.admission import Room
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Limits, NewRun, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models

QUEUE, TASK = "emails", "storm"
OWN = OF_TASK + TASK
LIMIT = 3
RUNS = 120
CANCELED = 10
KEYS = ("a", "b", "c", "d", "e")
pytestmark = pytest.mark.timeout(300)
EVERYWHERE = pytest.mark.parametrize("database", every_database(transaction=True))


@pytest.fixture
def alias(database: str, settings: Any) -> str:
    settings.TRIGGER_CELERY = {"NUDGE_INTERVAL": 2}
    return alias_of(database)


@pytest.fixture
def monitor(alias: str, transactional_db: None) -> Iterator[QueueMonitor]:
    with monitored(alias, QUEUE, OWN, *(of_key(QUEUE, key) for key in KEYS)) as monitor:
        yield monitor


def runs(count: int, *kinds: tuple[str, str], keys: Sequence[str] = ("",)) -> list[NewRun]:
    """Return runs of these queues and tasks in turn, and of these keys in turn."""
    return [
        NewRun(
            id=new_id(),
            task=kinds[number % len(kinds)][1],
            input="[[],{}]",
            queue=kinds[number % len(kinds)][0],
            concurrency_key=keys[number % len(keys)],
            priority=count - number,
        )
        for number in range(count)
    ]


def fill(
    storm: Storm, monitor: QueueMonitor, name: str, some: Sequence[NewRun], limit: int = LIMIT
) -> None:
    """Create runs and let none of them leave until they fill the queue."""
    with storm.holding():
        storm.create(some)
        eventually(lambda: monitor.count(name).running >= limit, 60, f"{name} is full")


def stays_at(monitor: QueueMonitor, name: str, most: int, change: Callable[[], None]) -> None:
    """Check that once a change is made, at most this many runs execute at a time."""
    change()
    eventually(lambda: monitor.count(name).running <= most, 60, "the others have left")
    monitor.forget_peaks()
    time.sleep(0.2)
    assert monitor.count(name).peak <= most


def disturb(storm: Storm, monitor: QueueMonitor, name: str, limit: int) -> None:
    """Cancel runs; lower a limit, pause, resume and raise it again."""
    storm.cancel(CANCELED, random.Random(name))
    stays_at(monitor, name, 1, lambda: storm.limit(name, 1))
    stays_at(monitor, name, 0, lambda: storm.pause(name))
    storm.resume(name)
    storm.limit(name, limit)


def check_over(storm: Storm) -> None:
    """Check that no run holds a slot, waits for one, or is promised one."""
    store, stored = storm.store, models.Run.objects.using(storm.alias)
    assert set(stored.values_list("state", flat=True)) <= {RunState.COMPLETED, RunState.CANCELED}
    assert list(store.queues.loads()) == []
    for line in {*store.queues.lines(), QUEUE, OWN}:
        assert admission.admit(storm.engine, line) == 0, "an ended run was promised a slot"
    while store.queues.clean_up(limit=500):
        pass
    assert models.Slot.objects.using(storm.alias).count() == 0


@EVERYWHERE
def test_no_instant_has_more_runs_than_queue_task_and_deployment_allow(
    alias: str, monitor: QueueMonitor
) -> None:
    limits = {QUEUE: LIMIT, OWN: LIMIT, EVERYTHING: LIMIT + 1}
    storm = Storm(alias)
    storm.store.queues.declare({name: Limits(concurrency=at) for name, at in limits.items()})
    peaks = dict.fromkeys(limits, 0)
    with storm.raging():
        full = {QUEUE: [(QUEUE, "other")], OWN: [("", TASK)], EVERYTHING: [("free", "other")]}
        for name, kinds in full.items():
            fill(storm, monitor, name, runs(LIMIT * 2, *kinds), limits[name])
            eventually(lambda: not storm.unfinished(), 60, "they have ended")
        mixed = ((QUEUE, TASK), ("", TASK), (QUEUE, "other"), ("free", "other"))
        storm.create(runs(RUNS, *mixed))
        for name, limit in limits.items():
            peaks = {each: max(peaks[each], monitor.count(each).peak) for each in limits}
            disturb(storm, monitor, name, limit)
    peaks = {each: max(peaks[each], monitor.count(each).peak) for each in limits}
    assert peaks == limits
    assert monitor.count().running == 0
    check_over(storm)


@EVERYWHERE
def test_no_instant_has_two_runs_of_a_key_that_allows_one(
    alias: str, monitor: QueueMonitor
) -> None:
    storm = Storm(alias)
    storm.store.queues.declare({QUEUE: Limits(concurrency=LIMIT, key_concurrency=1)})
    with storm.raging():
        fill(storm, monitor, QUEUE, runs(RUNS, (QUEUE, TASK), keys=KEYS))
        storm.cancel(CANCELED, random.Random(SEED))
    assert monitor.count(QUEUE).peak == LIMIT
    assert {monitor.count(of_key(QUEUE, key)).peak for key in KEYS} == {1}
    check_over(storm)


@pytest.mark.parametrize("control", ["without a limit", "without a look at the limits"])
@EVERYWHERE
def test_the_monitor_sees_claims_that_no_limit_held_back(
    alias: str, monitor: QueueMonitor, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storm = Storm(alias, hold=0)
    if control == "without a look at the limits":
        storm.store.queues.declare({QUEUE: Limits(concurrency=LIMIT)})
        monkeypatch.setattr(Room, "left", lambda room, run: None)
    with storm.raging(), storm.holding():
        storm.create(runs(LIMIT * 4, (QUEUE, TASK)))
        eventually(lambda: monitor.count(QUEUE).running > LIMIT * 2, 60, "too many run")
    assert monitor.count(QUEUE).peak > LIMIT * 2
    assert monitor.count(QUEUE).running == 0


@EVERYWHERE
def test_starts_keep_to_a_rate_of_one_each_50_ms_and_bursts_of_5(
    alias: str, monitor: QueueMonitor
) -> None:
    interval, burst, count = timedelta(milliseconds=50), 5, 40
    storm = Storm(alias, hold=0, leaves=False)
    storm.store.queues.declare({QUEUE: Limits(rate=Rate(interval=interval, burst=burst))})
    with storm.raging():
        storm.create(runs(count, (QUEUE, TASK)))
    started = models.Run.objects.using(alias).order_by("started_at")
    starts, dues = list(started.values_list("started_at", flat=True)), monitor.dues(QUEUE)
    assert len(starts) == len(dues) == monitor.count(QUEUE).begun == count
    before: datetime | None = None
    for start, due in zip(starts, dues, strict=True):
        assert start is not None
        if before is not None:
            assert start >= before - interval * (burst - 1), "a start came too early"
            assert due >= before + interval, "a start was not counted"
        assert due <= max(start, before or start) + interval, "a start was counted twice"
        before = due
    check_over(storm)
