"""How a run begins in the in-memory store: as it is created, and when it may start."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from trigger_celery.testing.memory.tables import Core
from trigger_celery.vocabulary.admission import line_at
from trigger_celery.vocabulary.records import NewRun, Run, RunSpec

_SPEC = tuple(field.name for field in fields(RunSpec))


def queued(core: Core, new: NewRun) -> Run:
    """Return the run as it is created."""
    now = core.now()
    available_at = new.available_at or now + new.delay
    return Run(
        spec=RunSpec(**{name: getattr(new, name) for name in _SPEC}),
        created_at=now,
        available_at=available_at,
        line_at=line_at(available_at, new.priority),
        due_at=core.first_nudge(available_at),
        deadline_at=None if new.ttl is None else max(available_at, now) + new.ttl,
    )


def may_start(run: Run, now: datetime) -> bool:
    """Whether a queued run may be claimed."""
    alive = run.deadline_at is None or run.deadline_at > now
    return run.available_at <= now and run.paused_at is None and alive


def deadline(run: Run, now: datetime) -> datetime | None:
    """Return when a run that is claimed now times out: its time to live ends with its start."""
    if run.started_at is not None and run.deadline_at is not None:
        return run.deadline_at
    return None if run.spec.max_duration is None else now + run.spec.max_duration


def may_publish(run: Run, now: datetime) -> bool:
    """Tell whether callbacks are owed and nobody holds the right to publish them.

    The sweep takes that right from a silent worker by clearing ``worker``; its nudge must
    be claimable although ``due_at`` then says when the next nudge is sent.
    """
    if not run.state.terminal or run.published_at is not None:
        return False
    return not run.worker or (run.due_at or now) <= now
