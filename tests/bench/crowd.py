"""A set of our tables with so many suspended runs in it, beside those of the other measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import connections
from django.db.models import Model

from bench.tables import own_tables
from trigger_celery.declare.definition import TaskRegistry
from trigger_celery.engine.core import Engine
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.models import Run, Wait, WaitShape
from trigger_celery_django.store import DjangoStore

NAME = "go"
_LATER = "clock_timestamp() + interval '1 day' + n * interval '1 ms'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """Suspended runs, each with an open wait on the same event name and another filter."""

    alias: str
    engine: Engine

    def add(self, count: int) -> list[Mapping[str, object]]:
        """Suspend runs as the engine would; return the payloads of the events they wait for."""
        payloads = [{"order": uuid4().hex, "paid": True} for _ in range(count)]
        filters = [Filter(NAME, payload, self.engine.codec) for payload in payloads]
        runs = [_run() for _ in payloads]
        Run.objects.using(self.alias).bulk_create(runs)
        waits = [_wait(run, each) for run, each in zip(runs, filters, strict=True)]
        Wait.objects.using(self.alias).bulk_create(waits)
        WaitShape.objects.using(self.alias).bulk_create(
            [WaitShape(digest=NAME, name=NAME, paths=filters[0].paths)], ignore_conflicts=True
        )
        return list(payloads)

    def fill(self, count: int) -> None:
        """Add so many by copying one, each with times and a hash of its own."""
        self.add(1)
        numbers = f"generate_series(1, {count}) AS n"
        later = {"due_at": _LATER}
        run_values = {"id": "gen_random_uuid()", "due_at": _LATER}
        wait_values = {
            "run_id": "r.id",
            "match_hash": "hashtextextended(r.id::text, 0)",
            "due_at": "r.due_at",
        }
        with connections[self.alias].cursor() as cursor:
            cursor.execute(_copy(Run, run_values, f"(SELECT * FROM {_table(Run)}) AS c, {numbers}"))
            joined = f"(SELECT * FROM {_table(Wait)}) AS c JOIN {_table(Run)} AS r"
            cursor.execute(_copy(Wait, wait_values, f"{joined} ON r.id <> c.run_id"))
            for table in (Run, Wait):  # the one that was copied waits as long as the others
                cursor.execute(
                    f"UPDATE {_table(table)} SET due_at = {later['due_at']} "
                    "FROM generate_series(1, 1) AS n WHERE due_at IS NULL"
                )
            cursor.execute("VACUUM (ANALYZE)")


@contextmanager
def crowd(count: int) -> Iterator[Crowd]:
    """Make tables in a schema of their own, with so many suspended runs, and drop them."""
    with own_tables(f"crowd_{count}") as alias:
        made = Crowd(alias=alias, engine=Engine(store=DjangoStore(alias), tasks=TaskRegistry()))
        made.fill(count)
        yield made


def _run() -> Run:
    now = datetime.now(UTC)
    return Run(
        id=new_id(),
        task="crowd",
        state=RunState.SUSPENDED,
        input="[[], {}]",
        created_at=now,
        available_at=now,
        line_at=now,
        started_at=now,
        lease_length=timedelta(seconds=30),
        fence=1,
    )


def _wait(run: Run, wanted: Filter) -> Wait:
    return Wait(
        run=run,
        key=NAME,
        kind=StepKind.EVENT,
        state=WaitState.WAITING,
        position=0,
        name=NAME,
        filter=wanted.text,
        paths=wanted.paths,
        match_hash=wanted.match_hash,
        created_at=run.created_at,
        looked=True,
    )


def _table(model: type[Model]) -> str:
    return model._meta.db_table


def _copy(model: type[Model], values: Mapping[str, str], source: str) -> str:
    """Return the statement that inserts the rows of a source ``c``, but for these columns."""
    generated: Any = model._meta.auto_field
    columns = [str(each.column) for each in model._meta.concrete_fields if each is not generated]
    chosen = ", ".join(values.get(column, f"c.{column}") for column in columns)
    return f"INSERT INTO {_table(model)} ({', '.join(columns)}) SELECT {chosen} FROM {source}"
