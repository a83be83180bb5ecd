"""Open waits of the in-memory store, as people see and end them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from trigger_celery.errors import InvalidTime, WaitNotFound
from trigger_celery.testing.memory.rows import WaitRow
from trigger_celery.testing.memory.tables import Core
from trigger_celery.testing.memory.tokens import MemoryTokens
from trigger_celery.vocabulary.records import Nudge, OpenWait
from trigger_celery.vocabulary.states import RunState, WaitState


class MemoryOpenWaits:
    """Implements :class:`trigger_celery.ports.OpenWaits`."""

    def __init__(self, core: Core, tokens: MemoryTokens) -> None:
        self._core = core
        self._tokens = tokens

    def find(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int
    ) -> Sequence[OpenWait]:
        """Return open waits whose id is over ``after``, by id."""
        with self._core.lock:
            found = [
                self._shown(row)
                for _, row in sorted(self._core.tables.waits.items())
                if row.state is WaitState.WAITING
                and row.id > after
                and run_id in (None, row.run_id)
                and kind in ("", row.wait.kind)
            ]
            return found[:limit]

    def get(self, wait_id: int) -> OpenWait | None:
        """Return the wait if it is open."""
        with self._core.lock:
            row = self._core.tables.waits.get(wait_id)
            return self._shown(row) if row and row.state is WaitState.WAITING else None

    def end(
        self, wait_id: int, state: WaitState, *, value: str | None = None, by: str = ""
    ) -> Nudge | None:
        """End the wait, noted in the run's history; a suspended run is queued."""
        with self._core.transactions.own():
            row = self._open(wait_id)
            self._core.tables.waits[wait_id] = replace(row, state=state, value=value)
            run = self._core.tables.runs[row.run_id].run
            verb = "complete wait" if state is WaitState.COMPLETED else "skip wait"
            self._core.note(run, verb, key=row.wait.key, by=by)
            if run.state is not RunState.SUSPENDED:
                return None
            return self._core.queue(run, "wake", key=row.wait.key)

    def extend(self, wait_id: int, delay: timedelta, *, by: str = "") -> OpenWait:
        """Let the wait end so much later, noted in the run's history."""
        with self._core.transactions.own():
            row = self._open(wait_id)
            if row.due_at is None:
                raise InvalidTime(f"wait {wait_id} has no end that could be put off")
            due_at = row.due_at + delay
            self._core.tables.waits[wait_id] = replace(row, due_at=due_at)
            if row.wait.token_id is not None:
                self._tokens.keep(row.wait.token_id, due_at)
            found = self._core.tables.runs[row.run_id]
            run = found.run
            looked = all(each.looked for each in self._core.open_waits(run.id))
            if run.state is RunState.SUSPENDED and looked:
                run = replace(run, due_at=self._core.first_due(run.id))
                self._core.tables.runs[run.id] = replace(found, run=run)
            until = due_at.isoformat()
            self._core.note(run, "extend wait", key=row.wait.key, until=until, by=by)
            return self._shown(self._core.tables.waits[wait_id])

    def _open(self, wait_id: int) -> WaitRow:
        row = self._core.tables.waits.get(wait_id)
        if row is None or row.state is not WaitState.WAITING:
            raise WaitNotFound(f"no open wait has the id {wait_id}: it may have ended by now")
        return row

    def _shown(self, row: WaitRow) -> OpenWait:
        return OpenWait(
            id=row.id,
            run_id=row.run_id,
            task=self._core.tables.runs[row.run_id].run.task,
            key=row.wait.key,
            kind=row.wait.kind,
            name=row.wait.name,
            token_id=row.wait.token_id,
            due_at=row.due_at,
            source=row.wait.source,
        )
