"""The schedules of the in-memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trigger_celery.ports.schedules import Decide
from trigger_celery.testing.memory.runs import MemoryRuns
from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.records import Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState


class MemorySchedules:
    """Implements :class:`trigger_celery.ports.Schedules`."""

    def __init__(self, core: Core, runs: MemoryRuns) -> None:
        self._core = core
        self._runs = runs
        self._rows: dict[str, Schedule] = {}

    def add(self, schedule: Schedule) -> bool:
        with self._core.lock:
            if self.get(schedule.key) is not None:
                return False
            self._write(schedule.key, schedule)
            return True

    def get(self, key: str) -> Schedule | None:
        return self._seen().get(key)

    def all(self) -> Sequence[Schedule]:
        return [row for _, row in sorted(self._seen().items())]

    def change(self, key: str, decide: Decide) -> ScheduleChange | None:
        with self._core.lock:
            row = self.get(key)
            change = None if row is None else decide(row, self._last_state(row), self._core.now())
            if change is None:
                return None
            fresh = self._runs.create(change.runs)
            self._write(key, change.schedule)
            new = tuple(run for run in change.runs if run.id in fresh)
            return replace(change, runs=new, lines=fresh.lines)

    def remove(self, key: str) -> bool:
        with self._core.lock:
            if self.get(key) is None:
                return False
            self._write(key, None)
            return True

    def due(self, *, limit: int) -> Sequence[Schedule]:
        with self._core.transactions.own():
            now = self._core.now()
            found = [
                (row.due_at, row.key, row)
                for row in self._rows.values()
                if row.due_at is not None and row.due_at <= now
            ]
            return [row for _, _, row in sorted(found, key=lambda item: item[:2])[:limit]]

    def _last_state(self, row: Schedule) -> RunState | None:
        run = None if row.last_run_id is None else self._runs.get(row.last_run_id)
        return None if run is None else run.state

    def _seen(self) -> dict[str, Schedule]:
        """Return what this thread sees: its own transaction's writes too."""
        with self._core.lock:
            seen: dict[str, Schedule | None] = dict(self._rows)
        for block in self._core.transactions.open:
            seen |= block.schedules
        return {key: row for key, row in seen.items() if row is not None}

    def _write(self, key: str, row: Schedule | None) -> None:
        if self._core.transactions.open:
            self._core.transactions.open[-1].schedules[key] = row

        def write() -> None:
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row

        self._core.transactions.write(write)
