"""Many runs wait for workers or are left by one: messages stay few, and memory flat."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

import pytest

from support.chaos import ALIAS, LONG, Stage
from support.waiting import eventually
from testproject.chaos import brief, faulty, left_alone
from testproject.shop.tasks import linear
from trigger_celery.client.access import installed_engine
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2_400 if LONG else 600)]

PER_SECOND, OUTAGE = (200, 40) if LONG else (60, 3)
"""How many runs are started in a second, and for how many seconds there is no worker."""
DRAINED_WITHIN = 1_200 if LONG else 300
LEFT = 5_000 if LONG else 300
"""How many runs a worker leaves suspended, and how many duplicates it gets of their messages."""
WARM_UP = 100
MEBIBYTE = 2**20


@pytest.fixture
def round_number() -> int:
    """Return the only round: each is long enough."""
    return 0


@pytest.fixture
def nudged(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that has a byte for each nudge of this process and of those of the stage."""
    monkeypatch.setenv("TC_EFFECTS", str(stage.log))
    return stage.log.with_name("nudges")


def start_runs(fault: str) -> int:
    """Start runs for as long as there is no worker; return how many."""
    engine = installed_engine()
    engine.dispatcher = faulty(fault, engine.dispatcher)
    began, count = time.monotonic(), 0
    while (passed := time.monotonic() - began) < OUTAGE or count < PER_SECOND * OUTAGE:
        if count < PER_SECOND * passed:
            brief.delay(count)
            count += 1
        else:
            time.sleep(0.005)
    return count


def unended(stage: Stage) -> int:
    """Return how many runs are still to be executed."""
    runs = models.Run.objects.using(ALIAS).exclude(state=RunState.COMPLETED)
    return stage.ask(runs.count)


@pytest.mark.parametrize("fault", ["count", "drop-first"])
def test_after_an_outage_of_the_workers_all_runs_end_and_messages_stay_few(
    stage: Stage, nudged: Path, fault: str
) -> None:
    stage.command("trigger_sweep", "--loop", fault=fault)
    count = start_runs(fault)
    stage.start("one", fault=fault)
    eventually(lambda: not unended(stage), DRAINED_WITHIN, "all runs end")
    published = nudged.stat().st_size

    assert count <= published <= (2.2 if fault == "drop-first" else 1.1) * count


def memory(pid: int) -> int:
    """Return how many bytes are a process's alone."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = (line.split() for line in fields if line.startswith("Private_"))
    return sum(int(size) * 1024 for _, size, _ in sizes)


def test_a_pool_child_that_leaves_thousands_of_runs_does_not_grow(stage: Stage) -> None:
    stage.start("one", concurrency=1)

    def leave(count: int) -> None:
        """Let the child leave so many runs, and then the duplicates of their messages."""
        ids = [UUID(left_alone.delay(str(number)).id) for number in range(count)]
        suspended = models.Run.objects.using(ALIAS).filter(pk__in=ids, state=RunState.SUSPENDED)
        eventually(lambda: stage.ask(suspended.count) == count, DRAINED_WITHIN, "all are left")
        nudges = [Nudge(run_id=run_id, task=left_alone.name) for run_id in ids]
        installed_engine().dispatcher.nudge(nudges)
        stage.wait_state(stage.trigger(linear, 1), RunState.COMPLETED, within=DRAINED_WITHIN)

    leave(WARM_UP)
    claims = models.History.objects.using(ALIAS).filter(verb="claim").order_by("-sequence")
    worker = stage.ask(lambda: claims.values_list("worker", flat=True)[0])
    pid = int(worker.rpartition(":")[2])
    before = memory(pid)
    leave(LEFT)
    grown = memory(pid) - before
    assert stage.workers[0].owns(pid)

    assert grown <= 5 * MEBIBYTE, f"{grown / MEBIBYTE:.1f} MiB"
