"""Bulk operations: plan one, start it, look at it, pause, resume and abort it.

A bulk operation does one thing to all runs that a filter finds. Workers carry it out in bounded
batches, in runs of the task ``trigger_celery.bulk``; it goes on after any crash, and deals with
each run once. ``by`` and ``reason`` go into the operation and into the history of each run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Unpack, cast
from uuid import UUID

from trigger_celery.client.access import Permit, check_permission, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.runs import RunFilters, check_limit, filter_of, visible
from trigger_celery.client.starting import find_task
from trigger_celery.config import suggest
from trigger_celery.declare.limits import RateLimit
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.bulk import TASK
from trigger_celery.engine.runs.trigger import Request, start
from trigger_celery.errors import BulkOperationNotFound, InvalidOption
from trigger_celery.vocabulary.checks import valid_queue_name
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import (
    BULK_STATES,
    BulkKind,
    BulkOperation,
    BulkState,
    FromPerson,
    NewBulkOperation,
    PlannedRuns,
    RunFilter,
)
from trigger_celery.vocabulary.states import RunState

IDS_LIMIT = 10_000
"""So many runs are named one by one at most; a filter finds any number."""
BATCH_LIMIT = 5_000
"""So many runs are moved in one transaction at most."""
_VERBS = {
    BulkKind.RETRY: "retry_run",
    BulkKind.RERUN: "rerun",
    BulkKind.CANCEL: "cancel_run",
    BulkKind.PAUSE: "pause_run",
    BulkKind.RESUME: "resume_run",
    BulkKind.PRIORITIZE: "prioritize_run",
    BulkKind.MOVE: "move_run",
}
"""What a caller has to be allowed to do to one run, to do it to many."""
_PAUSED, _OPEN = (BulkState.PAUSED,), (BulkState.RUNNING, BulkState.PAUSED)


class BulkOptions(RunFilters, total=False):
    """Which runs a bulk operation is about, and what it gives them.

    A filter of :class:`RunFilters`, or ``everything=True`` for all runs that it can be done to;
    ``at_most`` means the newest so many of them. ``priority`` is what the kind ``"prioritize"``
    gives a run, ``to_queue`` the name of the queue to which ``"move"`` takes it, "" for none.
    """

    everything: bool
    at_most: int | None
    priority: int | None
    to_queue: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPlan:
    """What a bulk operation would be about: ``count`` runs, by ``tasks``, as of now."""

    kind: BulkKind
    count: int
    tasks: tuple[PlannedRuns, ...]


def plan_bulk(kind: BulkKind | str, **options: Unpack[BulkOptions]) -> BulkPlan:
    """Return what :func:`start_bulk` would be about, and do nothing. Raises what it raises."""
    asked = _asked("plan_bulk", kind, options)
    permit = permitted("plan_bulk", asked.kind)
    asked = _of_caller(permit, asked)
    return _plan(permit.engine, asked, permit.engine.patient.now())


def start_bulk(
    kind: BulkKind | str,
    *,
    rate: RateLimit | None = None,
    batch_size: int = 500,
    reason: str = "",
    by: str = "",
    **options: Unpack[BulkOptions],
) -> BulkOperation:
    """Start a bulk operation in the caller's transaction, and return it.

    ``kind`` is ``"retry"``, ``"rerun"``, ``"cancel"``, ``"pause"``, ``"resume"``, ``"prioritize"``
    or ``"move"``; ``options`` are :class:`BulkOptions`. Runs that are created, or end, after the
    start are left alone, and one that changes before its turn is skipped: the operation counts why.
    ``rate`` is how many runs are dealt with in a time, ``batch_size`` (1 to 5,000) how many in one
    transaction at most.

    Raises ``InvalidOption`` without a filter, for states to which the kind cannot be done, and for
    what is out of bounds; and what :func:`list_runs` raises for a filter.
    """
    asked = _asked("start_bulk", kind, options)
    permit = permitted("start_bulk", asked.kind, by=by, reason=reason)
    check_permission(_VERBS[asked.kind], None, by=by)
    interval = None if rate is None else _interval(rate)
    check_count(batch_size, "batch_size", BATCH_LIMIT)
    asked, until = _of_caller(permit, asked), permit.engine.patient.now()
    new = NewBulkOperation(
        id=new_id(),
        run_id=new_id(),
        until=until,
        planned=_plan(permit.engine, asked, until).count,
        interval=interval,
        batch_size=batch_size,
        by=permit.by,
        reason=reason,
        **{each.name: getattr(asked, each.name) for each in fields(asked)},
    )
    return _create(permit, new)


def get_bulk(operation_id: UUID | str) -> BulkOperation:
    """Return a bulk operation. Raises ``BulkOperationNotFound``, as all below do."""
    operation_id = as_operation_id(operation_id)
    return _found(permitted("get_bulk", operation_id), operation_id)


def list_bulk(*, state: str | Collection[str] = (), limit: int = 100) -> Sequence[BulkOperation]:
    """Return the newest bulk operations, at most ``limit`` (1 to 1,000), in one of these states.

    States are ``"running"``, ``"paused"``, ``"completed"`` and ``"aborted"``. Raises
    ``InvalidOption``.
    """
    permit = permitted("list_bulk")
    check_limit(limit)
    states = [_state(text) for text in ([state] if isinstance(state, str) else state)]
    found = permit.engine.patient.bulk_operations.newest(states=states, limit=limit)
    return [operation for operation in found if _sees(permit, operation)]


def pause_bulk(operation_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Let no further batch begin until the operation is resumed; False if it is not running."""
    operation_id = as_operation_id(operation_id)
    permit = permitted("pause_bulk", operation_id, by=by, reason=reason)
    return _turn(permit, operation_id, BulkState.PAUSED, (BulkState.RUNNING,))


def resume_bulk(operation_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused operation go on; False if it is not paused, or over.

    One whose run a person has canceled goes on too, in another run.
    """
    operation_id = as_operation_id(operation_id)
    permit = permitted("resume_bulk", operation_id, by=by, reason=reason)
    engine = permit.engine
    operation, new_run = _found(permit, operation_id), new_id()
    among = _OPEN if _is_stranded(engine, operation) else _PAUSED

    def resume(again: bool) -> bool:
        turn = engine.store.bulk_operations.turn
        with engine.store.joined():
            if again and _found(permit, operation_id).run_id == new_run:
                return True
            turned = turn(operation_id, BulkState.RUNNING, among=among, run_id=new_run)
            if turned:
                _begin(permit, operation_id, new_run)
            return turned

    return engine.resolve(resume)


def abort_bulk(operation_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """End an operation after the batch that is under way; False if it is over already.

    What was done stays done.
    """
    operation_id = as_operation_id(operation_id)
    permit = permitted("abort_bulk", operation_id, by=by, reason=reason)
    return _turn(permit, operation_id, BulkState.ABORTED, _OPEN)


def as_operation_id(value: UUID | str) -> UUID:
    """Return the id of an operation given as text. Raises ``BulkOperationNotFound``."""
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise BulkOperationNotFound(
            f"expected the id of a bulk operation to be a UUID, got: {value!r}"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is done to which runs: fields of a :class:`NewBulkOperation`."""

    kind: BulkKind
    wanted: RunFilter
    at_most: int | None
    priority: int | None
    to_queue: str | None


def _asked(verb: str, kind: BulkKind | str, options: BulkOptions) -> _Asked:
    known = _kind(kind)
    filters: dict[str, Any] = dict(options)
    everything = bool(filters.pop("everything", False))
    change = {name: filters.pop(name, None) for name in ("at_most", "priority", "to_queue")}
    if change["at_most"] is not None:
        check_count(change["at_most"], "at_most", 2**62)
    _check_change(known, change["priority"], change["to_queue"])
    wanted = filter_of(cast(RunFilters, filters), verb)
    if everything == (wanted != RunFilter()):
        raise InvalidOption(
            f"{verb}() needs either a filter, or everything=True, which means all runs that it can "
            f"{known}"
        )
    if len(wanted.ids) > IDS_LIMIT:
        raise InvalidOption(f"expected at most {IDS_LIMIT:,} ids, got: {len(wanted.ids):,}")
    return _Asked(kind=known, wanted=replace(wanted, states=_states(known, wanted)), **change)


def _kind(given: BulkKind | str) -> BulkKind:
    try:
        return BulkKind(given)
    except ValueError:
        hint = suggest(str(given), dict.fromkeys(map(str, BulkKind)))
        raise InvalidOption(f"a bulk operation cannot {given!r} runs{hint}") from None


def _states(kind: BulkKind, wanted: RunFilter) -> tuple[RunState, ...]:
    """Return the states of the runs that are meant: by default all to which it can be done."""
    allowed = BULK_STATES[kind]
    if wrong := [state for state in wanted.states if state not in allowed]:
        raise InvalidOption(
            f"a bulk operation cannot {kind} runs that are {', '.join(wrong)}, only those that are "
            f"{', '.join(allowed)}"
        )
    return wanted.states or tuple(allowed)


def _state(text: str) -> BulkState:
    try:
        return BulkState(text)
    except ValueError:
        states = ", ".join(BulkState)
        raise InvalidOption(f"expected a state to be one of {states}; got: {text!r}") from None


def _check_change(kind: BulkKind, priority: object, to_queue: object) -> None:
    """Raise ``InvalidOption`` unless there is a new value for just what the kind changes."""
    for of_kind, name, value in (
        (BulkKind.PRIORITIZE, "priority", priority),
        (BulkKind.MOVE, "to_queue", to_queue),
    ):
        if (kind is of_kind) != (value is not None):
            says = f"needs {name}=" if kind is of_kind else f"takes no {name}="
            raise InvalidOption(f"a bulk operation of the kind {kind!r} {says}")
    if priority is not None:
        TriggerOptions(priority=cast(int, priority))
    if to_queue:
        valid_queue_name(to_queue, "to_queue")


def check_count(value: object, what: str, most: int) -> None:
    """Raise ``InvalidOption`` unless ``value`` is a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidOption(
            f"expected {what} to be a whole number from 1 to {most:,}, got: {value!r}"
        )


def _interval(rate: object) -> timedelta:
    if not isinstance(rate, RateLimit):
        raise InvalidOption(f"expected rate to be a RateLimit, got: {rate!r}")
    return rate.rate.interval


def _plan(engine: Engine, asked: _Asked, until: datetime) -> BulkPlan:
    tasks = tuple(engine.patient.bulk_operations.plan(asked.wanted, until=until))
    count = sum(each.count for each in tasks)
    if asked.at_most is not None:
        count = min(count, asked.at_most)
    return BulkPlan(kind=asked.kind, count=count, tasks=tasks)


def _create(permit: Permit, new: NewBulkOperation) -> BulkOperation:
    engine = permit.engine

    def create(again: bool) -> None:
        with engine.store.joined():
            engine.store.bulk_operations.create(new)
            _begin(permit, new.id, new.run_id)

    engine.resolve(create)
    given = {each.name: getattr(new, each.name) for each in fields(new)}
    found = engine.patient.bulk_operations.get(new.id)
    return found or BulkOperation(**given, created_at=new.until)


def _begin(permit: Permit, operation_id: UUID, run_id: UUID) -> None:
    """Create the run that carries the operation out."""
    engine = permit.engine
    origin = FromPerson(kind="bulk", by=permit.by, reason=permit.reason)
    definition = find_task(engine, TASK)
    args = (str(operation_id),)
    start(engine, [Request(definition=definition, args=args, id=run_id, origin=origin)])


def _of_caller(permit: Permit, asked: _Asked) -> _Asked:
    """Let an operation be about runs that the caller may see alone."""
    wanted = visible(permit, asked.wanted)
    if wanted is None:
        raise InvalidOption("there are no runs of these tasks for this caller")
    return replace(asked, wanted=wanted)


def _sees(permit: Permit, operation: BulkOperation) -> bool:
    tasks = operation.wanted.tasks
    return permit.caller.tasks is None or (bool(tasks) and all(map(permit.sees, tasks)))


def _found(permit: Permit, operation_id: UUID) -> BulkOperation:
    operation = permit.engine.patient.bulk_operations.get(operation_id)
    if operation is None or not _sees(permit, operation):
        raise BulkOperationNotFound(f"no bulk operation has the id {operation_id}")
    return operation


def _is_stranded(engine: Engine, operation: BulkOperation) -> bool:
    """Whether a running operation has no run any more that carries it out."""
    run = engine.patient.runs.get(operation.run_id)
    return operation.state is BulkState.RUNNING and (run is None or run.state.terminal)


def _turn(
    permit: Permit, operation_id: UUID, state: BulkState, among: Collection[BulkState]
) -> bool:
    engine = permit.engine
    _found(permit, operation_id)

    def turn(again: bool) -> bool:
        if again and _found(permit, operation_id).state is state:
            return True
        return engine.store.bulk_operations.turn(operation_id, state, among=among)

    return engine.resolve(turn)


aplan_bulk = twin(plan_bulk)
astart_bulk = twin(start_bulk)
aget_bulk = twin(get_bulk)
alist_bulk = twin(list_bulk)
apause_bulk = twin(pause_bulk)
aresume_bulk = twin(resume_bulk)
aabort_bulk = twin(abort_bulk)
