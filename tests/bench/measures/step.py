"""One durable step: ours in a worker's place, a raw insert and commit, and Django's ORM."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import psycopg
from psycopg import sql

from bench import bench_tasks, environment
from bench.contest import Bench, Comparison, Side, alternate
from bench.inprocess import execute_new
from trigger_celery_django.models import Checkpoint

BAR = 2.0
RAW_TABLE = "bench_raw_checkpoint"
NOW = datetime.now(UTC)
COLUMNS = {
    "run_id": uuid4(),
    "kind": "step",
    "value": "1",
    "attempt": 1,
    "started_at": NOW,
    "ended_at": NOW,
    "cpu_us": 10,
    "peak_memory": 100_000_000,
    "queries": 0,
    "worker": "localhost:1",
    "source": "bench_tasks.py:40",
    "token": "0" * 32,
    "fence": 1,
    "recorded_at": NOW,
}
"""What is the same in each row; ``key`` and ``position`` are not."""


def measure(bench: Bench) -> list[Comparison]:
    """Compare milliseconds a step."""
    size = bench.size(1_000, 200)
    with psycopg.connect(environment.url(os.environ["TC_BENCH_NAME"]), autocommit=True) as raw:
        _create_raw_table(raw)
        sides: dict[str, Side] = {
            "ours": partial(_durable, size),
            "raw insert + commit": partial(_raw, raw, size),
            "Django ORM insert": partial(_orm, size),
            **bench.peer_sides("step", size),
        }
        for side in list(sides.values())[:3]:
            side()  # statements are compiled, prepared and planned once
        found = alternate(sides, rounds=bench.rounds)
    ours = found.pop("ours")
    return [
        Comparison(
            name="step",
            against=name,
            unit="ms",
            ours=ours,
            reference=numbers,
            bar=BAR if name == "raw insert + commit" else None,
        )
        for name, numbers in found.items()
    ]


def _durable(size: int) -> float:
    return execute_new(bench_tasks.steps, size) / size * 1_000


def _create_raw_table(raw: psycopg.Connection) -> None:
    raw.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
            sql.Identifier(RAW_TABLE), sql.Identifier(Checkpoint._meta.db_table)
        )
    )


def _raw(raw: psycopg.Connection, size: int) -> float:
    names = [*COLUMNS, "key", "position"]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(RAW_TABLE),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Placeholder() * len(names)),
    )
    run_id = uuid4()
    rows = [
        [*(COLUMNS | {"run_id": run_id}).values(), f"noop#{number}", number]
        for number in range(size)
    ]
    text = statement.as_string(raw)
    started = time.perf_counter()
    for row in rows:
        raw.execute(text.encode(), row)  # autocommit: each is a transaction
    return (time.perf_counter() - started) / size * 1_000


def _orm(size: int) -> float:
    shared = COLUMNS | {"run_id": uuid4()}
    started = time.perf_counter()
    for number in range(size):
        Checkpoint.objects.create(**shared, key=f"noop#{number}", position=number)
    return (time.perf_counter() - started) / size * 1_000
