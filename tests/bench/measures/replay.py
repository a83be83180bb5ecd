"""Replay of a run with many finished steps, against reading their rows and nothing else."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from bench import environment
from bench.bench_tasks import steps_and_wait
from bench.contest import Bench, Comparison, Side, alternate
from bench.inprocess import create, timed
from trigger_celery import send_event
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Checkpoint

BAR = 1.0
BARRED = "(peer) Absurd"
FLOOR = "SELECT + json.loads"


def measure(bench: Bench) -> list[Comparison]:
    """Compare milliseconds from the claim of the woken run to its end."""
    size = bench.size(1_000, 200)
    with psycopg.connect(environment.url(os.environ["TC_BENCH_NAME"]), autocommit=True) as raw:
        finished = _suspended(size)[0]
        sides: dict[str, Side] = {
            "ours": partial(_replay, size),
            FLOOR: partial(_floor, raw, finished, size),
            **bench.peer_sides("replay", size),
        }
        found = alternate(sides, rounds=bench.rounds)
    ours = found.pop("ours")
    return [
        Comparison(
            name="replay",
            against=name,
            unit="ms",
            ours=ours,
            reference=numbers,
            bar=BAR if name == BARRED else None,
        )
        for name, numbers in found.items()
    ]


def _suspended(size: int) -> tuple[UUID, str]:
    key = uuid4().hex
    run_id = create(steps_and_wait, size, key)
    _, executed = timed(steps_and_wait, run_id)
    if executed.state is not RunState.SUSPENDED:
        raise AssertionError(f"the run does not wait: {executed}")
    return run_id, key


def _replay(size: int) -> float:
    run_id, key = _suspended(size)
    send_event("go", {"key": key})
    seconds, executed = timed(steps_and_wait, run_id)
    if executed.state is not RunState.COMPLETED:
        raise AssertionError(f"the run was not completed: {executed}")
    return seconds * 1_000


def _floor(raw: psycopg.Connection, run_id: UUID, size: int) -> float:
    """The lower bound of any replay: the rows through the driver, and their values decoded."""
    statement = sql.SQL("SELECT key, kind, position, value FROM {} WHERE run_id = %s").format(
        sql.Identifier(Checkpoint._meta.db_table)
    )
    started = time.perf_counter()
    rows = raw.execute(statement, [run_id]).fetchall()
    values = [json.loads(row[3]) for row in rows]
    seconds = time.perf_counter() - started
    if len(values) != size:
        raise AssertionError(f"expected {size} rows, got {len(values)}")
    return seconds * 1_000
