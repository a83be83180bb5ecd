"""Runs by their ids: look at one, cancel, retry, pause, resume and reschedule it.

``by`` and ``reason`` of a verb go into the run's history. New runs from old ones are in
``copies``, new runs of tasks in ``starting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery.client.access import permitted
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import decode_input
from trigger_celery.errors import InvalidTime, RunNotFound
from trigger_celery.values.failures import Failure, from_text
from trigger_celery.vocabulary.checks import duration, instant
from trigger_celery.vocabulary.records import Run, RunSpec, in_line_of
from trigger_celery.vocabulary.states import RunState

AS_STORED = (
    "id",
    "task",
    "state",
    "attempt",
    "crashes",
    "worker",
    "created_at",
    "available_at",
    "started_at",
    "finished_at",
    "deadline_at",
    "paused_at",
    "tags",
    "priority",
    "queue",
    "concurrency_key",
    "parent_id",
    "copied_from_id",
)
"""The fields that a :class:`RunInfo` has as they are stored, in the order people read them."""
_SPEC = frozenset(field.name for field in fields(RunSpec))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run, decoded. ``output`` is what it returned, ``error`` why it did not succeed.

    ``deadline_at`` is when it expires (before its first start) or times out (after it);
    ``in_line_of`` is the durable queue that it stands in line for until it is let in, or "";
    ``origin`` says what started it, and ``copied_from_id`` is the run that it is a rerun or
    fork of.
    """

    id: UUID
    task: str
    state: RunState
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    error: Failure | None
    attempt: int
    crashes: int
    worker: str
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    paused_at: datetime | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    priority: int
    queue: str
    concurrency_key: str
    in_line_of: str
    parent_id: UUID | None
    copied_from_id: UUID | None
    origin: Mapping[str, Any]


def as_run_id(value: UUID | str) -> UUID:
    """Return the id of a run given as text. Raises ``RunNotFound`` if no run can have it."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise RunNotFound(f"expected the id of a run to be a UUID, got: {value!r}") from None


def get_run(run_id: UUID | str) -> RunInfo:
    """Return a run with its input and result decoded.

    Raises ``RunNotFound``, as every function of this module does; and ``DecodeError``.
    """
    permit = permitted("get_run", run_id := as_run_id(run_id))
    return decoded(permit.engine, run_control.get(permit.engine, run_id))


def stored_run(run_id: UUID | str) -> Run:
    """Return a run as it is stored, for what shows its values as text."""
    permit = permitted("get_run", run_id := as_run_id(run_id))
    return run_control.get(permit.engine, run_id)


def stored_fields(run: Run) -> dict[str, Any]:
    """Return what ``AS_STORED`` names."""
    return {name: getattr(run.spec if name in _SPEC else run, name) for name in AS_STORED}


def decoded(engine: Engine, run: Run) -> RunInfo:
    """Return a stored run with its values decoded. Raises ``DecodeError``."""
    args, kwargs = decode_input(engine, run.spec.input)
    return RunInfo(
        **stored_fields(run),
        in_line_of=in_line_of(run),
        args=tuple(args),
        kwargs=kwargs,
        output=None if run.output is None else engine.codec.decode(run.output),
        error=None if run.error is None else from_text(run.error),
        metadata=_mapping(engine, run.spec.metadata),
        origin=_mapping(engine, run.spec.origin),
    )


def cancel_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Cancel a run and the children that close with it; False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    """
    permit = permitted("cancel_run", run_id := as_run_id(run_id), by=by, reason=reason)
    canceled = run_control.cancel(permit.engine, run_id, reason, by=permit.by)
    if not canceled:
        run_control.get(permit.engine, run_id)
    return canceled


def retry_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Queue a failed or timed-out run again: its finished steps keep their checkpoints.

    Raises ``IllegalTransition`` for any other run.
    """
    permit = permitted("retry_run", run_id := as_run_id(run_id), by=by, reason=reason)
    run_control.retry(permit.engine, run_id, by=permit.by, reason=reason)


def pause_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Keep a run from going on until it is resumed; False if it was paused already.

    An executing run learns of it when its lease is renewed, at the latest after a third of
    ``heartbeat_timeout``, and is handed back at its next boundary. Waits may end meanwhile,
    and ``max_duration`` goes on counting. Raises ``IllegalTransition`` for a run that has
    ended.
    """
    permit = permitted("pause_run", run_id := as_run_id(run_id), by=by, reason=reason)
    return permit.engine.patient.managing.pause(run_id, permit.record)


def resume_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused run go on; False if it was not paused, or has ended."""
    permit = permitted("resume_run", run_id := as_run_id(run_id), by=by, reason=reason)
    nudge = permit.engine.patient.managing.resume(run_id, permit.record)
    if nudge is not None:
        permit.engine.dispatcher.nudge([nudge])
    return nudge is not None


def reschedule_run(
    run_id: UUID | str,
    *,
    delay: timedelta | float | datetime,
    reason: str = "",
    by: str = "",
) -> None:
    """Let a delayed run start so long from now, or at an aware ``datetime`` to come.

    Its time to live counts from the new start. Raises ``InvalidTime``, or
    ``IllegalTransition`` if its time has come or it has been started.
    """
    permit = permitted("reschedule_run", run_id := as_run_id(run_id), by=by, reason=reason)
    engine = permit.engine
    verb = partial(engine.patient.managing.reschedule, run_id, permit.record)
    if isinstance(delay, datetime):
        available_at = instant(delay, "the new start")
        if available_at <= engine.store.now():
            raise InvalidTime(
                f"expected the new start to be a time to come, got: {available_at.isoformat()}"
            )
        verb(available_at=available_at)
        return
    length = duration(delay, "the new delay")
    nudge = verb(delay=length)
    if not length:
        engine.dispatcher.nudge([nudge])


def _mapping(engine: Engine, text: str) -> dict[str, Any]:
    value: Any = engine.codec.decode(text) if text else {}
    return dict(value)
