"""New runs from old ones, reruns from the start and forks from a step; and the plan of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias
from uuid import UUID

from trigger_celery.client.access import check_permission, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.runs import as_run_id
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.copies import copy_of
from trigger_celery.engine.runs.origins import encode_origin
from trigger_celery.engine.runs.trigger import decode_input, encode_input, of_creation
from trigger_celery.errors import InvalidOption, StepNotFound, UnknownTask
from trigger_celery.vocabulary.records import (
    Created,
    FromPerson,
    NewRun,
    RecordedCall,
    Run,
    StepKind,
)


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
    the old run, which may be in any state. Tags, metadata, queue, priority, limits and where
    its messages go are kept; its idempotency key, delay, time to live, parent and callbacks
    are not.

    Raises ``RunNotFound``, and for another input ``UnknownTask``, ``TypeError`` and the
    codec's errors, before anything is written.
    """
    permit = permitted("rerun", run_id := as_run_id(run_id), by=by, reason=reason)
    _check_edit(run_id, args, kwargs, by)
    source = run_control.get(permit.engine, run_id)
    new = _like(permit.engine, source, args, kwargs, FromPerson(kind="rerun", **permit.record))
    return _create(permit.engine, source, new, None)


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
    nothing of it again. All else is as for :func:`rerun`. Raises ``StepNotFound`` with the
    closest keys, and what :func:`rerun` raises.
    """
    permit = permitted("fork_run", run_id := as_run_id(run_id), by=by, reason=reason)
    _check_edit(run_id, args, kwargs, by)
    engine = permit.engine
    source = run_control.get(engine, run_id)
    keys = before(engine.patient.managing.recorded_calls(run_id), step, run_id)
    origin = FromPerson(kind="fork", step=step, **permit.record)
    return _create(engine, source, _like(engine, source, args, kwargs, origin), keys)


def _check_edit(run_id: UUID, args: object, kwargs: object, by: str) -> None:
    """Ask for the permission of its own that another input needs."""
    if args is not None or kwargs is not None:
        check_permission("edit_input", run_id, by=by)


def before(calls: Iterable[RecordedCall], step: str, run_id: UUID) -> list[str]:
    """Return the keys of what was over before ``step`` first began."""
    known = {call.key: call for call in calls}
    if step not in known:
        near = get_close_matches(step, known, n=3, cutoff=0.4) or sorted(known)[:3]
        raise StepNotFound(
            f"run {run_id} has no step or wait {step!r}; "
            + (f"near it: {', '.join(map(repr, near))}" if near else "it recorded none")
        )
    return [call.key for call in known.values() if _is_before(call, known[step])]


def _is_before(call: RecordedCall, step: RecordedCall) -> bool:
    if call.key == step.key or not call.is_over:
        return False
    # By time, because positions say nothing about what two parallel branches did first.
    if call.ended_at and step.began_at and call.ended_at != step.began_at:
        return call.ended_at < step.began_at
    return step.position is None or (call.position or 0) < step.position


def _like(
    engine: Engine,
    source: Run,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    origin: FromPerson,
) -> NewRun:
    text = None if args is None and kwargs is None else _edited(engine, source, args, kwargs)
    return copy_of(engine, source, origin=encode_origin(engine.codec, origin), text=text)


def _edited(
    engine: Engine, source: Run, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> str:
    """Return the text of another input, which the task has to take."""
    definition = engine.task(source.task)
    if definition is None:
        raise UnknownTask(
            f"run {source.id} is of task {source.task!r}, which this process does not know: "
            "another input cannot be checked. Import its module, or let autodiscover_tasks() "
            "of your Celery app find it"
        )
    old_args, old_kwargs = decode_input(engine, source.spec.input)
    new_args = old_args if args is None else list(args)
    new_kwargs = old_kwargs if kwargs is None else dict(kwargs)
    definition.check_arguments(tuple(new_args), new_kwargs)
    return encode_input(engine, source.task, tuple(new_args), new_kwargs)


def _create(engine: Engine, source: Run, new: NewRun, keys: Sequence[str] | None) -> UUID:
    def create(again: bool) -> UUID:
        with engine.store.joined():
            created = engine.store.runs.create([new])
            if created and keys is not None:
                engine.store.managing.copy(source.id, new.id, keys)
            if again:  # the run that the lost answer was about is nudged too
                created = Created([new.id]).standing(created.lines)
            of_creation(engine, [new], created)
        return new.id

    return engine.resolve(create)


Way: TypeAlias = Literal["retry", "rerun", "fork"]

_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A step or wait that a run recorded, by its ``key``; ``kind`` is what it was."""

    key: str
    kind: StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """What a run would do with its record, in the order in which that began.

    ``way`` is ``retry`` for the same run with its checkpoints, ``rerun`` for a new one from the
    start, ``fork`` for a new one from a step. What is ``recalled`` keeps its outcome and is not
    run again; what is in ``again`` runs again, or is waited for again. What the body calls after
    that is not known before it runs.
    """

    run_id: UUID
    way: Way
    recalled: tuple[PlannedCall, ...]
    again: tuple[PlannedCall, ...]


def plan_retry(
    run_id: UUID | str, *, from_start: bool = False, step: str | None = None
) -> RetryPlan:
    """Return what ``retry_dead_letter`` with the same arguments would recall and run again.

    Changes nothing, and may be asked of any run. Raises ``RunNotFound``, and ``StepNotFound``
    with the closest keys.
    """
    if from_start and step is not None:
        raise InvalidOption(f"expected from_start or a step, got both: {step!r}")
    engine = permitted("plan_retry", run_id := as_run_id(run_id)).engine
    run_control.get(engine, run_id)
    calls = sorted(engine.patient.managing.recorded_calls(run_id), key=_began)
    way: Way = "retry"
    if from_start:
        way, kept = "rerun", set()
    elif step is not None:
        way, kept = "fork", set(before(calls, step, run_id))
    else:
        kept = {call.key for call in calls if call.is_over}
    return RetryPlan(
        run_id=run_id,
        way=way,
        recalled=tuple(_planned(call) for call in calls if call.key in kept),
        again=tuple(_planned(call) for call in calls if call.key not in kept),
    )


def _began(call: RecordedCall) -> tuple[datetime, int]:
    return call.began_at or call.ended_at or _LAST, call.position or 0


def _planned(call: RecordedCall) -> PlannedCall:
    return PlannedCall(key=call.key, kind=call.kind)


arerun = twin(rerun)
afork_run = twin(fork_run)
aplan_retry = twin(plan_retry)
