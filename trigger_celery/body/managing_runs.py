"""What plain code asks of a run by its id; ``by`` and ``reason`` go into the run's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trigger_celery.body.run_info import RunInfo
from trigger_celery.body.runtime import installed
from trigger_celery.errors import RunNotFound


def get_run(run_id: UUID | str) -> RunInfo:
    """Return a run with its input and result decoded.

    Raises ``RunNotFound``, as every function of this module does; and ``DecodeError``.
    """
    return installed().get_run(as_run_id(run_id))


def cancel_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Cancel a run and the children that close with it; False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    """
    return installed().cancel_run(as_run_id(run_id), reason=reason, by=by)


def retry_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Queue a failed or timed-out run again: its finished steps keep their checkpoints.

    Raises ``IllegalTransition`` for any other run.
    """
    installed().retry_run(as_run_id(run_id), reason=reason, by=by)


def rerun(
    run_id: UUID | str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
    by: str = "",
) -> UUID:
    """Create a run like another one, from the start, and return its id.

    It is created in the caller's transaction. ``args`` and ``kwargs`` stand in for those of
    the old run, which may be in any state. Raises ``UnknownTask``, ``TypeError`` or the
    codec's errors for another input.
    """
    return installed().rerun(as_run_id(run_id), args=args, kwargs=kwargs, reason=reason, by=by)


def fork_run(
    run_id: UUID | str,
    *,
    step: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
    by: str = "",
) -> UUID:
    """Create a run that goes on at ``step`` of another one, and return its id.

    It has the outcomes of what was over before that step, or wait, first began, and runs
    nothing of it again. Raises ``StepNotFound`` with the closest keys, and what :func:`rerun`
    raises.
    """
    return installed().fork_run(
        as_run_id(run_id), step=step, args=args, kwargs=kwargs, reason=reason, by=by
    )


def reschedule_run(
    run_id: UUID | str,
    *,
    delay: timedelta | float | datetime,
    reason: str = "",
    by: str = "",
) -> None:
    """Let a delayed run start so long from now, or at an aware ``datetime`` to come.

    Raises ``InvalidTime``, or ``IllegalTransition`` once its time has come.
    """
    installed().reschedule_run(as_run_id(run_id), delay=delay, reason=reason, by=by)


def pause_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Keep a run from going on until it is resumed; False if it was paused already.

    An executing body is left at its next boundary once its worker has learned of it. Waits
    may end meanwhile, and ``max_duration`` goes on counting. Raises ``IllegalTransition`` for
    a run that has ended.
    """
    return installed().pause_run(as_run_id(run_id), reason=reason, by=by)


def resume_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused run go on; False if it was not paused, or has ended."""
    return installed().resume_run(as_run_id(run_id), reason=reason, by=by)


def as_run_id(value: UUID | str) -> UUID:
    """Return the id of a run given as text. Raises ``RunNotFound`` if no run can have it."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise RunNotFound(f"expected the id of a run to be a UUID, got: {value!r}") from None
