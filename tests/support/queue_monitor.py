"""Counts, by triggers in the database itself, how many runs execute at a time.

What the store believes plays no part in it: every change of a run's state is counted in the
transaction that makes it. A row of counts is locked until that commits, so the counts follow
each other as the commits do, and a peak is what anybody could have seen at one instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections, transaction

from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK
from trigger_celery_django import models
from trigger_celery_django.store.common.rows import aware

_COUNTS, _STARTS = "queue_monitor", "queue_monitor_due"
_RUN, _QUEUE = models.Run._meta.db_table, models.DurableQueue._meta.db_table

_CHANGES = "(NEW.state = 'executing') <> (OLD.state = 'executing')"
_STEP = "(CASE NEW.state WHEN 'executing' THEN 1 ELSE -1 END)"
_DUE = f"INSERT INTO {_STARTS} (name, due_at) VALUES (NEW.name, NEW.due_at)"


@dataclass(frozen=True, slots=True)
class Count:
    """How many runs execute, how many did at the most, and how often one began to."""

    running: int = 0
    peak: int = 0
    begun: int = 0


class QueueMonitor:
    """Reads what the triggers counted in the database called ``alias``."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def count(self, name: str = EVERYTHING) -> Count:
        """Return the counts of a queue, of a task's, of the deployment, or of a key of a queue."""
        found = self._rows(f"SELECT running, peak, begun FROM {_COUNTS} WHERE name = %s", [name])
        return Count(*found[0]) if found else Count()

    def forget_peaks(self) -> None:
        """Count the peaks from those that execute now."""
        with transaction.atomic(using=self._alias), connections[self._alias].cursor() as cursor:
            # In the order of the trigger.
            for which in ("=", "<>"):
                cursor.execute(
                    f"UPDATE {_COUNTS} SET peak = running WHERE name {which} %s", [EVERYTHING]
                )

    def dues(self, name: str) -> list[datetime]:
        """Return when the next start was due by the rate of a queue, after each of its starts."""
        found = self._rows(f"SELECT due_at FROM {_STARTS} WHERE name = %s ORDER BY number", [name])
        return [aware(due_at) for (due_at,) in found]

    def _rows(self, statement: str, parameters: Sequence[Any]) -> Sequence[Any]:
        with connections[self._alias].cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def of_key(queue: str, key: str) -> str:
    """Return the name under which the runs of one concurrency key are counted."""
    return f"{queue} {key}"


@contextmanager
def monitored(alias: str, *names: str) -> Iterator[QueueMonitor]:
    """Count the runs that meet the limits of these queues and keys, and all, during the block."""
    connection = connections[alias]
    vendor = connection.vendor
    _execute(alias, *_REMOVE[vendor])  # what a test that was killed left
    try:
        _execute(alias, *_INSTALL[vendor])
        with connection.cursor() as cursor:
            for name in sorted({EVERYTHING, *names}):
                cursor.execute(f"INSERT INTO {_COUNTS} VALUES (%s, 0, 0, 0)", [name])
        yield QueueMonitor(alias)
    finally:
        _execute(alias, *_REMOVE[vendor])


def _execute(alias: str, *statements: str) -> None:
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _joined(vendor: str, *parts: str) -> str:
    return f"CONCAT({', '.join(parts)})" if vendor == "mysql" else f"({' || '.join(parts)})"


def _counting(vendor: str) -> str:
    """Return the statements of the trigger; all write one row first, so none waits inside."""
    greatest = "MAX" if vendor == "sqlite" else "GREATEST"
    # MySQL assigns from left to right: the peak comes first.
    add = f"""UPDATE {_COUNTS} SET
        peak = {greatest}(peak, running + {_STEP}), begun = begun + (NEW.state = 'executing'),
        running = running + {_STEP}"""
    if vendor == "postgresql":
        add = add.replace("(NEW.state = 'executing'),", "(NEW.state = 'executing')::int,")
    own = _joined(vendor, f"'{OF_TASK}'", "NEW.task")
    line = f"(CASE NEW.queue WHEN '' THEN {own} ELSE NEW.queue END)"
    key = _joined(vendor, line, "' '", "NEW.concurrency_key")
    names = [own, line, key]
    if vendor == "mysql":  # where names of queues, of tasks and of tables are compared in ways
        names = [f"CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin" for name in names]
    return f"""{add} WHERE name = '{EVERYTHING}';
        {add} WHERE name IN ({", ".join(names)});"""


_TABLES = {
    "postgresql": ("", "bigserial PRIMARY KEY", "timestamptz"),
    "mysql": (
        " ENGINE InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "bigint AUTO_INCREMENT PRIMARY KEY",
        "datetime(6)",
    ),
    "sqlite": ("", "integer PRIMARY KEY", "datetime"),
}


def _install(vendor: str) -> list[str]:
    options, number, time = _TABLES[vendor]
    statements = [
        f"""CREATE TABLE {_COUNTS} (name varchar(190) PRIMARY KEY, running integer NOT NULL,
            peak integer NOT NULL, begun integer NOT NULL){options}""",
        f"""CREATE TABLE {_STARTS} (number {number}, name varchar(190) NOT NULL,
            due_at {time}){options}""",
    ]
    due = "NEW.due_at IS NOT NULL AND (OLD.due_at IS NULL OR NEW.due_at <> OLD.due_at)"
    for name, table, condition, work in (
        (_COUNTS, _RUN, _CHANGES, _counting(vendor)),
        (_STARTS, _QUEUE, due, f"{_DUE};"),
    ):
        statements += _trigger(vendor, name, table, condition, work)
    return statements


def _trigger(vendor: str, name: str, table: str, condition: str, work: str) -> list[str]:
    head = f"CREATE TRIGGER {name} AFTER UPDATE ON {table} FOR EACH ROW"
    if vendor == "mysql":
        return [f"{head} IF {condition} THEN {work} END IF"]
    if vendor == "sqlite":
        return [f"{head} WHEN {condition} BEGIN {work} END"]
    return [
        f"""CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {work} RETURN NULL; END $$""",
        f"{head} WHEN ({condition}) EXECUTE FUNCTION {name}()",
    ]


def _remove(vendor: str) -> list[str]:
    on = {_COUNTS: _RUN, _STARTS: _QUEUE}
    statements = []
    for name, table in on.items():
        where = f" ON {table}" if vendor == "postgresql" else ""
        statements.append(f"DROP TRIGGER IF EXISTS {name}{where}")
        if vendor == "postgresql":
            statements.append(f"DROP FUNCTION IF EXISTS {name}()")
        statements.append(f"DROP TABLE IF EXISTS {name}")
    return statements


_INSTALL = {vendor: _install(vendor) for vendor in _TABLES}
_REMOVE = {vendor: _remove(vendor) for vendor in _TABLES}
