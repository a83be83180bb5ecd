"""Runs of the in-memory store whose time is over: not started in time, or not done in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trigger_celery.testing.memory.tables import Core
from trigger_celery.values.overdue import overdue
from trigger_celery.vocabulary.records import Nudge, Run


def expire(core: Core, *, limit: int) -> Sequence[Nudge]:
    """End at most ``limit`` runs whose deadline has come; see :class:`ports.Sweeps`."""
    with core.transactions.own():
        now = core.now()
        found = [
            (row.run.deadline_at, row.run)
            for row in core.tables.runs.values()
            if row.run.deadline_at is not None and row.run.deadline_at <= now
        ]
        found.sort(key=lambda pair: pair[0])
        return [_end(core, run) for _, run in found[:limit]]


def _end(core: Core, run: Run) -> Nudge:
    worker = run.worker
    end = overdue(started=run.started_at is not None, max_duration=run.spec.max_duration)
    ended = replace(
        run,
        state=end.state,
        error=end.error,
        worker="",
        published_at=None,
        # Its nudge is published with this sweep: another one has time.
        due_at=core.now() + core.nudge_interval,
    )
    told = {"worker": worker} if worker else {}
    return core.finish(ended, end.verb, fingerprint=end.fingerprint, **told)
