"""The runs in line, read by steps along an index: the cost does not grow with the line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from trigger_celery_django import models

_SLOT = models.Slot._meta.db_table
_RUN = models.Run._meta.db_table

_IN_LINE = "fence IS NULL AND promised_at IS NULL"

_LINES = f"""
WITH RECURSIVE line(queue) AS (
    SELECT min(queue) FROM {_SLOT} WHERE {_IN_LINE}
    UNION ALL
    SELECT (SELECT min(queue) FROM {_SLOT} WHERE {_IN_LINE} AND queue > line.queue)
    FROM line WHERE line.queue IS NOT NULL
)
SELECT queue FROM line WHERE queue IS NOT NULL
"""
# Grouped without a condition on other columns, MySQL and MariaDB skip along an index. To ask
# whether such a row EXISTS, they would read all of them first.
_LINES_MYSQL = f"""
SELECT queue FROM (SELECT queue FROM {_SLOT} GROUP BY queue) AS known
WHERE (
    SELECT 1 FROM {_SLOT} AS slot FORCE INDEX (trigger_slot_line)
    WHERE slot.queue = known.queue AND {_IN_LINE} LIMIT 1
)
ORDER BY queue
"""

_OF_QUEUE = f"FROM {_SLOT} AS slot WHERE slot.queue = %s AND {_IN_LINE}"


def _walk(lap: str, beyond: str) -> str:
    """Return the steps from one key and task to the next, of the keys that are ``beyond``.

    The last of them may be None, or too far.
    """
    return f"""{lap}(key, task, step) AS (
    SELECT * FROM (
        SELECT CAST(slot.key AS text), CAST(slot.task AS text), 1
        {_OF_QUEUE} AND slot.key {beyond} %s ORDER BY slot.key, slot.task LIMIT 1
    ) AS first
    UNION ALL
    SELECT
        COALESCE(
            (SELECT slot.key {_OF_QUEUE} AND slot.key = {lap}.key AND slot.task > {lap}.task
                ORDER BY slot.task LIMIT 1),
            (SELECT min(slot.key) {_OF_QUEUE} AND slot.key > {lap}.key)
        ),
        COALESCE(
            (SELECT min(slot.task) {_OF_QUEUE} AND slot.key = {lap}.key AND slot.task > {lap}.task),
            (SELECT slot.task {_OF_QUEUE} AND slot.key > {lap}.key
                ORDER BY slot.key, slot.task LIMIT 1)
        ),
        step + 1
    FROM {lap} WHERE step < %s AND key {beyond} %s
)"""


SUB_LINES = f"""
WITH RECURSIVE {_walk("after", ">")}, {_walk("before", "<=")}
SELECT key, task FROM (
    SELECT 1 AS lap, step, key, task FROM after WHERE key IS NOT NULL
    UNION ALL SELECT 2 AS lap, step, key, task FROM before WHERE key <= %s
) AS both_laps ORDER BY lap, step LIMIT %s
"""
# Those where a run holds a slot but none waits are among them: few, and found empty.
_SUB_LINES_MYSQL = f"""
SELECT `key`, task FROM (
    SELECT 1 AS lap, `key`, task FROM {_SLOT}
    WHERE queue = %s AND `key` > %s GROUP BY queue, `key`, task
    UNION ALL
    SELECT 2 AS lap, `key`, task FROM {_SLOT}
    WHERE queue = %s AND `key` <= %s GROUP BY queue, `key`, task
) AS both_laps ORDER BY lap, `key`, task LIMIT %s
"""

_PLACE = f"""
    SELECT run.id, run.task, run.canvas, run.state, run.queue, run.concurrency_key,
        run.available_at, run.line_at, run.started_at, run.due_at, run.deadline_at, run.paused_at
    FROM {_SLOT} AS slot {{index}} JOIN {_RUN} AS run ON run.id = slot.run_id
    WHERE slot.queue = %s AND slot.{{key}} = {{of_key}} AND slot.task = {{of_task}}
        AND slot.fence IS NULL AND slot.promised_at IS NULL
    ORDER BY {{order}} LIMIT %s
"""
_ORDER = "slot.line_at, slot.run_id"
_PLACES = f"""
SELECT * FROM ({_PLACE.format(key="key", of_key="%s", of_task="%s", order=_ORDER, index="")})
AS line{{}}
"""
# The index ends with the primary key, but its length keeps the optimizer from using that.
_PLACES_MYSQL = f"""
SELECT * FROM ({
    _PLACE.format(
        key="`key`",
        of_key="%s",
        of_task="%s",
        order="slot.line_at",
        index="FORCE INDEX (trigger_slot_line)",
    )
}) AS line{{}}
"""
# Many parts of a union take PostgreSQL longer to plan than to read.
PLACES_POSTGRESQL = f"""
SELECT place.* FROM unnest(%s::text[], %s::text[]) AS wanted(key, task) CROSS JOIN LATERAL (
    {_PLACE.format(key="key", of_key="wanted.key", of_task="wanted.task", order=_ORDER, index="")}
) AS place
"""


def lines(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the queues that runs stand in line for; one statement."""
    statement = _LINES_MYSQL if connection.vendor == "mysql" else _LINES
    return [queue for (queue,) in _rows(connection, statement, [])]


def sub_lines(
    connection: BaseDatabaseWrapper, queue: str, last_key: str, limit: int
) -> list[tuple[str, str]]:
    """Return the keys and tasks of the runs in line for a queue; one statement.

    The keys after the one whose turn it was last come first, and then those from the start.
    """
    if connection.vendor == "mysql":
        lap = [queue, last_key]
        found = _rows(connection, _SUB_LINES_MYSQL, [*lap, *lap, limit])
    else:
        found = _rows(connection, SUB_LINES, of_sub_lines(queue, last_key, limit))
    return [(key, task) for key, task in found]


def of_sub_lines(queue: str, last_key: str, limit: int) -> Sequence[Any]:
    """Return the parameters of ``SUB_LINES``."""
    steps = [queue, last_key, *[queue] * 4, limit, last_key]
    return [*steps, *steps, last_key, limit]


def places(
    connection: BaseDatabaseWrapper, queue: str, wanted: Sequence[tuple[str, str, int]]
) -> Sequence[models.Run]:
    """Return the runs in line for each key, task and number of them; one statement.

    Those with the earliest places, not in any order across keys and tasks.
    """
    if connection.vendor == "postgresql":
        statement, parameters = of_places(queue, wanted)
    else:
        part = _PLACES_MYSQL if connection.vendor == "mysql" else _PLACES
        parts = [part.format(number) for number, _ in enumerate(wanted)]
        statement = " UNION ALL ".join(parts)
        parameters = [value for key, task, depth in wanted for value in (queue, key, task, depth)]
    runs = models.Run.objects.using(connection.alias)
    return list(runs.raw(statement, parameters))


def of_places(queue: str, wanted: Iterable[tuple[str, str, int]]) -> tuple[str, Sequence[Any]]:
    """Return PostgreSQL's statement for :func:`places`, and its parameters."""
    by_depth: dict[int, list[tuple[str, str]]] = {}
    for key, task, depth in wanted:
        by_depth.setdefault(depth, []).append((key, task))
    parameters: list[Any] = []
    for depth, pairs in by_depth.items():
        parameters += [*map(list, zip(*pairs, strict=True)), queue, depth]
    return " UNION ALL ".join([PLACES_POSTGRESQL] * len(by_depth)), parameters


def _rows(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
