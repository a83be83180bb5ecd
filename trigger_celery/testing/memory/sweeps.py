"""What time alone moves in the in-memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from trigger_celery.testing.memory.tables import Core, nudge
from trigger_celery.values.forced_ends import overdue
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Due, Lease, Nudge, Run
from trigger_celery.vocabulary.states import RunState, WaitState


class MemorySweeps:
    """Implements :class:`trigger_celery.ports.Sweeps`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        """Move on at most ``limit`` runs whose ``due_at`` has come; return those to nudge."""
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
        self._core.change(replace(run, due_at=None))
        return True

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        """End at most ``limit`` runs whose ``deadline_at`` has come; return those to nudge."""
        with self._core.transactions.own():
            now = self._core.now()
            found = [
                (row.run.deadline_at, row.run)
                for row in self._core.tables.runs.values()
                if row.run.deadline_at is not None and row.run.deadline_at <= now
            ]
            found.sort(key=lambda pair: pair[0])
            return [self._expire(run, now) for _, run in found[:limit]]

    def _expire(self, run: Run, now: datetime) -> Nudge:
        end = overdue(run)
        after = lifecycle.force_end(run, end, now, nudge_interval=self._core.nudge_interval)
        details = {"worker": run.worker} if run.worker else {}
        return self._core.finish(after, end.verb, fingerprint=end.fingerprint, **details)

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
            return self._core.crash(run)
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
        after = lifecycle.nudge_again(run, self._core.now(), nudge_interval=nudge_interval)
        return nudge(self._core.change(after))
