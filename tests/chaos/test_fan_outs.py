"""A process that moves many runs at once is killed midway: an event, a fan-out, a schedule."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from support.chaos import ALIAS, LONG, Stage
from support.waiting import eventually
from testproject.chaos import SEED, hearer
from testproject.shop.tasks import linear, squares
from trigger_celery import create_schedule, pause_schedule
from trigger_celery.client.access import installed_engine
from trigger_celery.engine.execution.fan_out import child_id
from trigger_celery.engine.runs.origins import scheduled_run
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2_400 if LONG else 300)]

WITHIN = 900 if LONG else 120
"""Seconds in which so many runs have got where they go."""
CHILDREN = 1_000


@pytest.fixture
def dice(round_number: int) -> random.Random:
    return random.Random(SEED + round_number)


@pytest.fixture
def stops(stage: Stage) -> Iterator[None]:
    """Let processes stop at their faults, as long as the barrier is there."""
    stage.keeps_connections = True  # thousands of runs: to connect costs more than each of them
    stage.hold("stop")
    yield
    stage.folder.joinpath("hold-stop").unlink(missing_ok=True)


def in_state(stage: Stage, task: str, state: RunState) -> int:
    """Return how many runs of a task are in this state."""
    runs = models.Run.objects.using(ALIAS).filter(task=task, state=state)
    return stage.ask(runs.count)


@pytest.mark.usefixtures("stops")
def test_an_event_to_many_waits_ends_each_once_though_its_sender_is_killed(
    stage: Stage, dice: random.Random, round_number: int
) -> None:
    number = 10_000 if LONG and round_number == 0 else 1_000
    workers = stage.start("one", "two")
    stage.runs += [handle.id for handle in hearer.batch_trigger([()] * number)]
    waiting = RunState.SUSPENDED
    eventually(lambda: in_state(stage, "hearer", waiting) == number, WITHIN, "all runs wait")
    for worker in workers:
        worker.kill()

    def stop(most: int) -> str:
        return f"stop waits.resolve {dice.choice(('before', 'after'))} {dice.randint(1, most)}"

    said = ("everybody", "--payload", '{"n": 7}', "--id", "said-once")
    stage.command("trigger_events", "send", *said, fault=stop(4))
    stage.kill_stopped(1)
    for times in (2, 3):
        stage.command("trigger_sweep", "--loop", fault=stop(2))
        stage.kill_stopped(times)
    assert in_state(stage, "hearer", waiting) > 0
    stage.release("stop")
    for _ in range(2):
        stage.command("trigger_sweep", "--loop")
    stage.start("three", "four")

    ended = RunState.COMPLETED
    eventually(lambda: in_state(stage, "hearer", ended) == number, WITHIN, "all runs have heard")
    stage.finish()
    waits = models.Wait.objects.using(ALIAS).filter(name="everybody")
    outcomes = Counter(stage.ask(lambda: list(waits.values_list("state", "event__event_id"))))
    assert outcomes == {(WaitState.EVENT, "said-once"): number}
    assert {stage.result(run) for run in stage.runs} == {7}
    heard = Counter(line.run for line in stage.lines() if line.name == "last")
    assert heard == dict.fromkeys(map(str, stage.runs), 1)


@pytest.mark.usefixtures("stops")
def test_a_fan_out_starts_each_child_once_though_its_workers_are_killed(
    stage: Stage, dice: random.Random
) -> None:
    creating = f"children.create {dice.choice(('before', 'after'))} {dice.randint(2, 6)}"
    (one,) = stage.start("one", concurrency=1, fault=f"stop {creating}")
    parent = stage.trigger(squares, list(range(CHILDREN)))
    stage.kill_stopped(1)
    one.kill()
    assert in_state(stage, "squared", RunState.QUEUED) < CHILDREN

    (two,) = stage.start("two")
    stage.wait_state(parent, RunState.SUSPENDED, within=WITHIN)
    ended = RunState.COMPLETED
    some = in_state(stage, "squared", ended) + dice.randint(1, 50)
    eventually(lambda: in_state(stage, "squared", ended) >= some, WITHIN, "some have ended")
    two.kill()
    assert in_state(stage, "squared", ended) < CHILDREN

    waking = dice.choice(("before", "after"))
    stage.start("three", concurrency=1, fault=f"stop waits.conclude {waking} 1")
    eventually(lambda: in_state(stage, "squared", ended) == CHILDREN, WITHIN, "all have ended")
    stage.kill_stopped(2)
    stage.release("stop")

    stage.wait_state(parent, RunState.COMPLETED, within=WITHIN)
    stage.finish()
    assert stage.result(parent) == [number * number for number in range(CHILDREN)]
    children = models.Run.objects.using(ALIAS).filter(task="squared")
    found = stage.ask(lambda: list(children.values_list("id", "parent_id", "state")))
    ids = [child_id(parent, "squared", number) for number in range(CHILDREN)]
    assert sorted(found) == sorted((run, parent, "completed") for run in ids)
    assert stage.verbs(parent).count("wake") == 1
    waits = models.Wait.objects.using(ALIAS).filter(run=parent)
    assert stage.ask(lambda: list(waits.values_list("state", flat=True))) == ["completed"]


@pytest.mark.usefixtures("stops")
def test_each_nominal_time_runs_once_though_sweeps_are_killed(
    stage: Stage, dice: random.Random
) -> None:
    second = timedelta(seconds=1)
    create_schedule(
        linear, key="tick", every=second, args=[1], overlap="allow", catch_up=timedelta(hours=1)
    )
    # The first two are inside of the transaction, the last one is behind it, before the nudge.
    points = ["runs.create before", "runs.create after", "schedules.change after"]
    dice.shuffle(points)
    for times, point in enumerate(points, 1):
        stage.command("trigger_sweep", "--loop", fault=f"stop {point} 1")
        stage.kill_stopped(times)  # its turn ends by the clock, then comes the next
    stage.release("stop")
    stage.start("one", "two")
    seen = models.Run.objects.using(ALIAS).count()
    eventually(lambda: models.Run.objects.using(ALIAS).count() > seen + 1, 30, "it goes on")
    pause_schedule("tick")

    runs = list(models.Run.objects.using(ALIAS).filter(task="linear"))
    stage.runs += [run.pk for run in runs]
    stage.finish()
    scheduled = [scheduled_run(installed_engine().codec, run.origin) for run in runs]
    nominal = sorted(each.nominal_at for each in scheduled if each is not None)
    assert nominal == [nominal[0] + second * index for index in range(len(runs))]
    assert nominal[-1] == models.Schedule.objects.using(ALIAS).get(key="tick").last_at
    for run in stage.runs:
        assert stage.result(run) == 2
        stage.check_counts(run, {"first": 1, "last": 1})
