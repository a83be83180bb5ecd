"""What time alone moves in the in-memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from trigger_celery.testing.memory.crashes import crash
from trigger_celery.testing.memory.deadlines import expire
from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.vocabulary.records import Due, Lease, Nudge, Run
from trigger_celery.vocabulary.states import RunState, WaitState

_LONGEST_PAUSE = timedelta(minutes=2)


class MemorySweeps:
    """Implements :class:`trigger_celery.ports.Sweeps`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        """Move on at most ``limit`` runs whose ``due_at`` has come; return whom to nudge."""
        with self._core.transactions.own():
            now = self._core.now()
            found = [
                (row.run.due_at, row.run)
                for row in self._core.tables.runs.values()
                if row.run.due_at is not None and row.run.due_at <= now
            ]
            found.sort(key=lambda pair: pair[0])
            runs = [run for _, run in found[:limit] if not self._is_held(run)]
            unlooked = [run for run in runs if self._is_unlooked(run)]
            nudges = tuple(
                self._move_on(run, nudge_interval) for run in runs if run not in unlooked
            )
            executing = [run.id for run in runs if run.state is RunState.EXECUTING]
            return Due(
                nudges=nudges,
                unlooked=tuple(self._ask_to_look(run, nudge_interval) for run in unlooked),
                failed=tuple(
                    each
                    for each in nudges
                    if each.run_id in executing
                    and self._core.tables.runs[each.run_id].run.state.terminal
                ),
            )

    def _is_held(self, run: Run) -> bool:
        """Look no more at a queued run that a person holds: resuming makes it due again."""
        if run.paused_at is None or run.state is not RunState.QUEUED:
            return False
        row = self._core.tables.runs[run.id]
        self._core.tables.runs[run.id] = replace(row, run=replace(run, due_at=None))
        return True

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        """End at most ``limit`` runs whose ``deadline_at`` has come; return whom to nudge."""
        return expire(self._core, limit=limit)

    def _is_unlooked(self, run: Run) -> bool:
        if run.state is not RunState.SUSPENDED:
            return False
        return not all(row.looked for row in self._core.open_waits(run.id))

    def _ask_to_look(self, run: Run, nudge_interval: timedelta) -> Lease:
        row = self._core.tables.runs[run.id]
        run = replace(run, due_at=self._core.now() + nudge_interval)
        self._core.tables.runs[run.id] = replace(row, run=run)
        return Lease(run.id, run.fence, row.token)

    def _move_on(self, run: Run, nudge_interval: timedelta) -> Nudge:
        if run.state is RunState.EXECUTING:
            return crash(self._core, run)
        if run.state is RunState.SUSPENDED:
            return self._wake(run)
        return self._nudge_again(run, nudge_interval)

    def _wake(self, run: Run) -> Nudge:
        now = self._core.now()
        for row in self._core.open_waits(run.id):
            if row.due_at is not None and row.due_at <= now:
                self._core.tables.waits[row.id] = replace(row, state=WaitState.TIMEOUT)
        return self._core.queue(run, "wake")

    def _nudge_again(self, run: Run, nudge_interval: timedelta) -> Nudge:
        now = self._core.now()
        age = now - (run.finished_at or run.available_at)
        pause = max(nudge_interval, min(age, _LONGEST_PAUSE))
        row = self._core.tables.runs[run.id]
        # Without a worker an ended run is anybody's to publish, see may_publish.
        run = replace(run, due_at=now + pause, worker="")
        self._core.tables.runs[run.id] = replace(row, run=run)
        return nudge(run)
