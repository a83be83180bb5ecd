"""Workers are killed while a limited queue drains: the limit holds, and no slot is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from support.chaos import ALIAS, LONG, Stage
from support.queue_monitor import QueueMonitor, monitored, of_key
from support.waiting import eventually
from testproject.chaos import SEED, ledger
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.records import Limits
from trigger_celery.vocabulary.states import TERMINAL, RunState
from trigger_celery_django import models

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2_400 if LONG else 300)]

QUEUE, LIMIT, KEY_LIMIT = "ledgers", 3, 2
KEYS = ("a", "b")
RUNS = 200 if LONG else 60
KILLS = 12 if LONG else 4


@pytest.fixture
def dice(round_number: int) -> random.Random:
    return random.Random(SEED + round_number)


@pytest.fixture
def monitor(stage: Stage) -> Iterator[QueueMonitor]:
    with monitored(ALIAS, QUEUE, *(of_key(QUEUE, key) for key in KEYS)) as monitor:
        yield monitor


def ended(stage: Stage) -> int:
    """Return how many runs are over."""
    return stage.ask(models.Run.objects.using(ALIAS).filter(state__in=TERMINAL).count)


def kill_a_holder(stage: Stage, dice: random.Random) -> None:
    """Kill a process that executes a run, as soon as there is one."""

    def look() -> list[str]:
        runs = models.Run.objects.using(ALIAS).filter(state=RunState.EXECUTING)
        return stage.ask(lambda: list(runs.values_list("worker", flat=True)))

    pid = int(dice.choice(eventually(look, 30, "a run executes")).rpartition(":")[2])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_limited_queue_drains_though_its_holders_are_killed(
    stage: Stage, dice: random.Random, monitor: QueueMonitor
) -> None:
    store = installed_engine().store
    store.queues.declare({QUEUE: Limits(concurrency=LIMIT, key_concurrency=KEY_LIMIT)})
    workers = stage.start("one", "two", concurrency=4)
    for number in range(RUNS):
        entering = ledger.options(queue=QUEUE, concurrency_key=KEYS[number % len(KEYS)])
        stage.runs.append(entering.trigger(1).id)
    for _ in range(KILLS):
        kill_a_holder(stage, dice)
        time.sleep(dice.uniform(0, 0.5))
    workers[0].kill()
    assert ended(stage) < RUNS
    stage.start("three", concurrency=4)

    eventually(lambda: ended(stage) == RUNS, 600 if LONG else 120, "the queue has drained")
    stage.finish()
    assert monitor.count(QUEUE).peak == LIMIT
    assert max(monitor.count(of_key(QUEUE, key)).peak for key in KEYS) == KEY_LIMIT
    assert monitor.count(QUEUE).running == 0
    assert {stage.run(run).state for run in stage.runs} == {RunState.COMPLETED}
    assert {stage.balance(run) for run in stage.runs} == {(2, 0)}
    assert stage.ask(store.queues.loads) == []
    while stage.ask(lambda: store.queues.clean_up(limit=500)):
        pass
    assert stage.ask(models.Slot.objects.using(ALIAS).count) == 0
