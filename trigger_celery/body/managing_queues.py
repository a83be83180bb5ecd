"""What plain code asks of durable queues, by their names.

Besides those that are declared there is ``"*"``, the whole deployment, and ``"task/<name>"``,
the runs of one task in whatever queue. All functions that take a name raise ``QueueNotFound``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from trigger_celery.body.managing_runs import as_run_id
from trigger_celery.body.queue_info import QueueInfo
from trigger_celery.body.runtime import installed
from trigger_celery.declare.limits import RateLimit
from trigger_celery.vocabulary.records import Holder


class _Unchanged:
    def __repr__(self) -> str:
        return "<as it is>"


UNCHANGED: Any = _Unchanged()


def list_queues() -> Sequence[QueueInfo]:
    """Return all durable queues by name, with their limits and how full they are."""
    return installed().list_queues()


def get_queue(name: str) -> QueueInfo:
    """Return a durable queue, with its limits and how full it is."""
    return installed().get_queue(name)


def pause_queue(name: str, *, reason: str = "", by: str = "") -> bool:
    """Start no runs of a queue until it is resumed; False if it was paused already.

    Executing runs go on to their end or to their next suspension. Runs are still accepted
    and stand in line. Deployments do not end a pause. Raises ``InvalidName`` for a ``by`` of
    more than 200 characters, ``InvalidOption`` for a ``reason`` of more than 1,000.
    """
    return installed().pause_queue(name, reason=reason, by=by)


def resume_queue(name: str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused queue go on at once; False if it was not paused.

    Who resumes it and why is told to receivers of the signal ``queue_resumed``, and not kept.
    Raises what :func:`pause_queue` raises.
    """
    return installed().resume_queue(name, reason=reason, by=by)


def limit_queue(
    name: str,
    *,
    concurrency_limit: int | None = UNCHANGED,
    key_limit: int | None = UNCHANGED,
    rate_limit: RateLimit | None = UNCHANGED,
    key_rate_limit: RateLimit | None = UNCHANGED,
) -> bool:
    """Put limits in the place of those that code and settings declare; False if none changed.

    They hold until :func:`reset_queue`, also after deployments. What is not given stays as
    it is; None is no limit, and a ``concurrency_limit`` of 0 starts nothing. Executing runs
    go on, also over a lower limit.

    Raises ``InvalidOption`` for what ``Queue`` refuses too, and if nothing is given.
    """
    limits = {
        "concurrency_limit": concurrency_limit,
        "key_limit": key_limit,
        "rate_limit": rate_limit,
        "key_rate_limit": key_rate_limit,
    }
    given = {name: value for name, value in limits.items() if value is not UNCHANGED}
    return installed().limit_queue(name, given)


def reset_queue(name: str) -> bool:
    """Let the limits of code and settings hold again; False if none was changed.

    A pause stays.
    """
    return installed().reset_queue(name)


def queue_holders(name: str, *, limit: int = 100) -> Sequence[Holder]:
    """Return the runs that hold slots of a queue, the longest first, so many at most."""
    return installed().queue_holders(name, limit=limit)


def release_slot(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Take the slot from an executing run, as if its worker had died.

    That counts as a crash: the run is queued again and continues from its checkpoints, or
    fails if it has crashed too often. A worker that still executes it can record nothing
    more, but what it does meanwhile is not undone.

    Raises ``RunNotFound``, and ``IllegalTransition`` if the run holds no slot.
    """
    installed().release_slot(as_run_id(run_id), reason=reason, by=by)
