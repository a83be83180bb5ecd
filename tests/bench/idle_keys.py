"""A limited queue with so many idle concurrency keys, in tables of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections

from bench.tables import own_tables
from trigger_celery.vocabulary.identity import new_id, new_token
from trigger_celery.vocabulary.records import Claim, Ending, Limits, NewRun, Rate
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import KeyRate, Run
from trigger_celery_django.store import DjangoStore

QUEUE, TASK = "keyed", "bench.keyed"
LENGTH = timedelta(seconds=30)
RATE = Rate(interval=timedelta(milliseconds=1), burst=100)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleKeys:
    """A queue limited by key, in number and in rate; each key had one run, which ended."""

    store: DjangoStore
    count: int

    def fill(self) -> None:
        """Add the keys, with their rates and their runs."""
        self.store.queues.declare({QUEUE: Limits(key_concurrency=1, key_rate=RATE)})
        run = self._create("key-0")
        self.start_and_end(run)
        copied = {"id": "gen_random_uuid()", "concurrency_key": "'key-' || n"}
        columns = [str(field.column) for field in Run._meta.concrete_fields]
        values = ", ".join(copied.get(column, f"c.{column}") for column in columns)
        with connections[self.store.alias].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {Run._meta.db_table} ({', '.join(columns)}) SELECT {values} "
                f"FROM {Run._meta.db_table} AS c, generate_series(1, {self.count - 1}) AS n"
            )
            cursor.execute(
                f"INSERT INTO {KeyRate._meta.db_table} (queue, key, due_at) "
                f"SELECT '{QUEUE}', 'key-' || n, now() - n * interval '1 ms' "
                f"FROM generate_series(1, {self.count - 1}) AS n"
            )
            cursor.execute("VACUUM (ANALYZE)")

    def claims(self, size: int) -> list[float]:
        """Return the seconds of claim and end of so many runs, each of some idle key."""
        runs = [self._create(f"key-{random.randrange(self.count)}") for _ in range(size)]
        return [self.start_and_end(run) for run in runs]

    def start_and_end(self, run: NewRun) -> float:
        """Claim the run with a slot, and end it; return the seconds it took."""
        asked = Claim(
            run_id=run.id, task=TASK, worker="w", version="v", length=LENGTH, token=new_token()
        )
        ending = Ending(
            state=RunState.COMPLETED, token=new_token(), publish=False, publish_within=LENGTH
        )
        began = time.perf_counter()
        claimed = self.store.runs.claim(asked)
        assert claimed is not None
        assert claimed.limited == (QUEUE,)
        self.store.runs.end(claimed.lease, ending)
        return time.perf_counter() - began

    def _create(self, key: str) -> NewRun:
        run = NewRun(id=new_id(), task=TASK, input="[[], {}]", queue=QUEUE, concurrency_key=key)
        self.store.runs.create([run])
        return run


@contextmanager
def idle_keys(count: int) -> Iterator[IdleKeys]:
    """Make a queue with so many idle keys, and drop it after the block."""
    with own_tables(f"keys_{count}") as alias:
        made = IdleKeys(store=DjangoStore(alias), count=count)
        made.fill()
        yield made
