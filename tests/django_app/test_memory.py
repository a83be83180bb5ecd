"""What long runs and many runs hold in memory: bounded, whatever their number."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import pytest

from support.databases import alias_of, every_database
from trigger_celery import step
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import execute
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing.contract.tools import new_run
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Checkpoint
from trigger_celery_django.store import DjangoStore

KIBIBYTE, MEBIBYTE = 2**10, 2**20
CHECKPOINTS = 10_000
VALUE = '{"id": "' + "x" * 1_000 + '"}'
WARM_UP = 200
RUNS = 500


def peak_of(work: Callable[[], object]) -> int:
    """Return how many bytes more than before Python held at most while it worked."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def growth_of(work: Callable[[], object]) -> int:
    """Return how many bytes more than before Python holds when the work is done."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def long_run(store: DjangoStore) -> UUID:
    """Create a run whose checkpoints are ten thousand."""
    new = new_run()
    store.runs.create([new])
    now = datetime.now(UTC)
    rows = (
        Checkpoint(
            run_id=new.id,
            key=f"charge#{number}",
            kind=StepKind.STEP,
            value=VALUE,
            position=number * 2**20,
            attempt=1,
            token=new_token(),
            fence=1,
            recorded_at=now,
            started_at=now,
            ended_at=now,
            cpu_us=0,
            peak_memory=0,
            queries=0,
        )
        for number in range(CHECKPOINTS)
    )
    while batch := list(islice(rows, 1_000)):
        Checkpoint.objects.using(store.alias).bulk_create(batch, batch_size=100)
    return new.id


@pytest.mark.parametrize("database", every_database())
def test_loading_ten_thousand_checkpoints_stays_under_a_hundred_mebibytes(database: str) -> None:
    store = DjangoStore(alias_of(database))
    run_id = long_run(store)

    def load() -> None:
        assert len(store.checkpoints.load(run_id, run_attempt=1).recorded) == CHECKPOINTS

    load()
    peak = peak_of(load)
    assert CHECKPOINTS * len(VALUE) < peak < 100 * MEBIBYTE


@step
def double(value: int) -> int:
    return 2 * value


def tiny(value: int) -> int:
    return double(value) + 1


@pytest.mark.django_db(databases=[alias_of("sqlite")], transaction=True)
def test_executing_many_runs_leaves_nothing_in_memory() -> None:
    engine = Engine(store=DjangoStore(alias_of("sqlite")), tasks=TaskRegistry())
    task = define(tiny, name="tiny")
    engine.tasks.add(task)

    def work(count: int) -> None:
        for number in range(count):
            executed = execute(engine, trigger(engine, task, (number,), {}), task)
            assert executed.state is RunState.COMPLETED

    work(WARM_UP)
    g = growth_of(lambda: work(RUNS))
    print("GROWTH", g)
    assert g < 2 * MEBIBYTE
