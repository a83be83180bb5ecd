"""What an admission reads and writes on PostgreSQL: compiled statements, most of them prepared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from trigger_celery.vocabulary.admission import KeyOf
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK
from trigger_celery_django import models
from trigger_celery_django.store.postgresql.claims import BY_INDEX, TAKEN, UNHURRIED
from trigger_celery_django.store.postgresql.connection import Parameters, Row, execute
from trigger_celery_django.store.postgresql.runs import QUEUE, RUN, SLOT
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.queues import waiting as lines
from trigger_celery_django.store.queues.admission_rows import WINDOW, AdmissionRows, SubLines

_GATE = ("name", "declared", "overrides", "limited", "due_at", "last_key", "paused_at")
_PLACE = (
    "id",
    "task",
    "canvas",
    "state",
    "queue",
    "concurrency_key",
    "available_at",
    "line_at",
    "started_at",
    "due_at",
    "deadline_at",
    "paused_at",
)

LOCK = f"""
SELECT {", ".join(_GATE)}, statement_timestamp(), {BY_INDEX} FROM {QUEUE}
WHERE name = %(queue)s OR limited AND (
    name = '{EVERYTHING}' OR %(all_tasks)s::bool AND starts_with(name, '{OF_TASK}')
)
ORDER BY name FOR UPDATE
"""

COUNT = f"""
WITH {TAKEN}
SELECT taken.queue, taken.key, taken.task, count(*)
FROM taken, LATERAL (SELECT state, fence FROM {RUN} WHERE id = taken.run_id OFFSET 0) AS run
WHERE (%(everything)s::bool OR taken.queue = ANY(%(queues)s::text[])
        OR taken.task = ANY(%(tasks)s::text[]))
    AND (run.state = 'executing' AND run.fence = taken.fence
        OR run.state = 'queued' AND taken.fence IS NULL AND taken.promised_at > %(since)s)
GROUP BY taken.queue, taken.key, taken.task
"""

PROMISE = f"""
WITH free AS MATERIALIZED (
    SELECT id FROM {RUN}
    WHERE id = ANY(%(ids)s::uuid[]) AND state = 'queued' AND paused_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
), promised AS (
    UPDATE {SLOT} SET promised_at = %(now)s
    WHERE run_id = ANY(ARRAY(SELECT id FROM free)) AND num_nulls(fence, promised_at) = 2
), put_off AS (
    UPDATE {RUN} SET due_at = %(until)s, available_at = least(available_at, %(now)s)
    WHERE id = ANY(ARRAY(SELECT id FROM free))
)
SELECT {UNHURRIED}
"""
"""What ended or paused a run meanwhile has said when it is due. A run whose row is locked,
which a caller's transaction may do for long, is only nudged and keeps its place in line:
an admission that waits for it here would hold up the queue.

The disk is not waited for: if the server crashes, the nudged runs stand in line still.
Slots are found by their runs: ``fence IS NULL`` would lead to the index of the line.
"""


class PostgresAdmissionRows(AdmissionRows):
    """The same with Django's part of the work left out, which is most of it."""

    def lock(self) -> Mapping[str, models.DurableQueue]:
        """Lock the queues and return them by name, each with the time as ``read_at``."""
        asked = {"queue": self.queue, "all_tasks": not self.queue.startswith(OF_TASK)}
        gates = {}
        for *columns, now, _ in self._rows(LOCK, asked):
            gate = models.DurableQueue(**dict(zip(_GATE, columns, strict=True)))
            gate.read_at = now  # type: ignore[attr-defined]  # as an annotation would be
            gates[gate.name] = gate
        return gates

    def waiting(self, last_key: str) -> SubLines:
        """Return the keys and tasks of the runs in line, those after the last key first."""
        parameters = lines.of_sub_lines(self.queue, last_key, WINDOW)
        # A plan that was kept from when the table was small would read all of it.
        return self._rows(lines.SUB_LINES, parameters, prepare=True)  # type: ignore[return-value]

    def counts(self, gates: Collection[str], promised_after: datetime) -> Mapping[KeyOf, int]:
        """Count the holders of slots of these queues, by queue and key."""
        asked = {
            "everything": EVERYTHING in gates,
            "queues": list(gates),
            "tasks": [name.removeprefix(OF_TASK) for name in gates if name.startswith(OF_TASK)],
            "since": promised_after,
        }
        return slots.totals(self._rows(COUNT, asked))  # type: ignore[arg-type]

    def places(self, wanted: Sequence[tuple[str, str, int]]) -> Sequence[models.Run]:
        """Return the first runs in line for each key, task and number of them."""
        statement, parameters = lines.of_places(self.queue, wanted)
        rows = self._rows(statement, parameters, prepare=True)
        return [models.Run(**dict(zip(_PLACE, row, strict=True))) for row in rows]

    def promise(self, chosen: Sequence[UUID], now: datetime, until: datetime) -> None:
        """Note that these runs were promised a slot, and are to be nudged again at ``until``."""
        with self.connection.wrap_database_errors:
            execute(self.connection, PROMISE, {"ids": list(chosen), "now": now, "until": until})

    def _rows(self, statement: str, parameters: Parameters, *, prepare: bool = True) -> list[Row]:
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            return execute(self.connection, statement, parameters, prepare).fetchall()
