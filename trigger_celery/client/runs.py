"""Runs by their ids: look at one, cancel, retry, pause, resume and reschedule it.

``by`` and ``reason`` of a verb go into the run's history. New runs from old ones are in
``copies``, new runs of tasks in ``starting``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any, TypedDict, Unpack
from uuid import UUID

from trigger_celery.client.access import Permit, installed_engine, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.config import suggest
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import decode_input
from trigger_celery.errors import InvalidOption, InvalidTime, RunNotFound, UnknownOption
from trigger_celery.values.failures import Failure, from_text
from trigger_celery.vocabulary.checks import duration, instant, printable
from trigger_celery.vocabulary.records import (
    ListedRun,
    ListPosition,
    Run,
    RunFilter,
    RunOutline,
    RunSpec,
    TaskVersion,
    in_line_of,
)
from trigger_celery.vocabulary.states import RunState

PAGE = 1_000
"""So many entries a page of a list has at most."""

AS_STORED = tuple(field.name for field in fields(RunOutline))
"""The fields of a run that are shown as they are stored, in the order people read them."""
_SPEC = frozenset(field.name for field in fields(RunSpec))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(RunOutline):
    """A run in a list; :func:`get_run` has its input and output too.

    ``error`` says why it did not succeed. ``deadline_at`` is when it expires (before its first
    start) or times out (after it). ``schedule`` is the key of the schedule that started it,
    or "". ``parent_id`` is the run that started it, ``root_id`` the one at the top of that tree,
    and ``copied_from_id`` the run that it is a rerun or fork of.
    """

    error: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo(RunSummary):
    """A run, decoded: what a list shows of it, and its values. ``output`` is what it returned.

    ``in_line_of`` is the durable queue that it stands in line for until it is let in, or "";
    ``origin`` says what started it.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    metadata: Mapping[str, Any]
    in_line_of: str
    origin: Mapping[str, Any]


def as_run_id(value: UUID | str) -> UUID:
    """Return the id of a run given as text. Raises ``RunNotFound`` if no run can have it."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise RunNotFound(f"expected the id of a run to be a UUID, got: {value!r}") from None


def ids_beginning_with(digits: str, *, limit: int) -> Sequence[UUID]:
    """Return the ids of runs that begin with these hexadecimal digits, so many at most."""
    return permitted("list_runs").engine.patient.runs.beginning_with(digits, limit=limit)


def get_run(run_id: UUID | str) -> RunInfo:
    """Return a run with its input and result decoded.

    Raises ``RunNotFound``, as every function of this module does; and ``DecodeError``.
    """
    permit = permitted("get_run", run_id := as_run_id(run_id))
    return decoded(permit.engine, permit.get_run(run_id))


def stored_run(run_id: UUID | str) -> Run:
    """Return a run as it is stored, for what shows its values as text."""
    permit = permitted("get_run", run_id := as_run_id(run_id))
    return permit.get_run(run_id)


def is_declared(task: str) -> bool:
    """Return whether a module of the project declares a task of this name, or with this alias."""
    return installed_engine().task(task) is not None


def declared_names() -> list[str]:
    """Return the names of the tasks that this process has imported, in order."""
    return sorted(task.name for task in declared_tasks)


def declared_version(task: str) -> TaskVersion | None:
    """Return the source of a task as it is declared now; None if no code here declares it."""
    found = installed_engine().task(task)
    return None if found is None else found.version


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Some runs of a list; ``next`` is the ``cursor`` of the page behind it, None for the last."""

    runs: tuple[RunSummary, ...]
    next: str | None


class RunFilters(TypedDict, total=False):
    """What :func:`list_runs` may ask for: a run has to fit all that is given.

    ``task`` and ``state`` may be several, of which a run has one; of several tags it has all.
    ``schedule`` is the key of the one that started a run, ``parent`` the run that did, ``root``
    a run whose whole tree is meant, itself included. ``error`` is the ``fingerprint`` of a
    :class:`Failure`: runs that ended with a failure which a person would call the same.
    ``since`` and ``until`` are aware times: a run was created in between, ``until`` excluded.
    ``dead_letters`` asks for runs that failed for good and wait for a person, ``ids`` for these
    runs alone.
    """

    ids: Collection[UUID | str]
    task: str | Collection[str]
    state: str | Collection[str]
    queue: str
    schedule: str
    tag: str | Collection[str]
    parent: UUID | str | None
    root: UUID | str | None
    error: str
    since: datetime | None
    until: datetime | None
    dead_letters: bool


def list_runs(
    *, cursor: str | None = None, limit: int = 100, **filters: Unpack[RunFilters]
) -> RunPage:
    """Return runs, the newest first, a page at a time; ``filters`` are :class:`RunFilters`.

    The order is that of ``created_at``. The next page has ``cursor=page.next``: each run that
    there was at the first page comes once, whatever is created meanwhile. Raises
    ``UnknownOption`` for a filter of another name, ``InvalidOption`` for a state, cursor or limit
    (1 to 1,000) that cannot be, ``InvalidTime`` for a naive time, ``RunNotFound`` for a parent
    or root that is no id.
    """
    permit = permitted("list_runs")
    check_limit(limit)
    wanted, after = visible(permit, filter_of(filters, "list_runs")), _position(cursor)
    if wanted is None:
        return RunPage(runs=(), next=None)
    found = permit.engine.patient.runs.find(wanted, after=after, limit=limit + 1)
    page = tuple(_summary(run) for run in found[:limit])
    return RunPage(runs=page, next=_cursor(page[-1]) if len(found) > limit else None)


def visible(permit: Permit, wanted: RunFilter) -> RunFilter | None:
    """Return the filter of what the caller may see of these runs; None if that is nothing."""
    if permit.caller.tasks is None:
        return wanted
    tasks = tuple(filter(permit.sees, wanted.tasks or permit.caller.tasks))
    return replace(wanted, tasks=tasks) if tasks else None


def filter_of(given: RunFilters, verb: str) -> RunFilter:
    """Return the checked filter of a call of ``verb``. Raises what :func:`list_runs` raises."""
    for name in given:
        if name not in RunFilters.__annotations__:
            hint = suggest(name, RunFilters.__annotations__)
            raise UnknownOption(f"{verb}() has no filter {name!r}{hint}")
    if "ids" in given and not given["ids"]:
        raise InvalidOption(f"expected the ids given to {verb}() to name at least one run")
    parent, root = given.get("parent"), given.get("root")
    since, until = given.get("since"), given.get("until")
    return RunFilter(
        ids=tuple(dict.fromkeys(map(as_run_id, given.get("ids", ())))),
        tasks=_texts(given.get("task", ()), "task"),
        states=tuple(as_state(text) for text in _texts(given.get("state", ()), "state")),
        queue=printable(given.get("queue", ""), "queue"),
        schedule=printable(given.get("schedule", ""), "schedule"),
        tags=_texts(given.get("tag", ()), "tag"),
        parent_id=None if parent is None else as_run_id(parent),
        root_id=None if root is None else as_run_id(root),
        error=printable(given.get("error", ""), "error"),
        since=None if since is None else instant(since, "since"),
        until=None if until is None else instant(until, "until"),
        dead_letters=given.get("dead_letters", False),
    )


def check_limit(limit: object) -> None:
    """Raise :exc:`InvalidOption` unless a page may have so many entries."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= PAGE:
        raise InvalidOption(f"expected limit to be from 1 to {PAGE:,}, got: {limit!r}")


def _texts(value: str | Collection[str], what: str) -> tuple[str, ...]:
    return tuple(printable(each, what) for each in ([value] if isinstance(value, str) else value))


def as_state(text: str) -> RunState:
    """Return the state of this name. Raises :exc:`InvalidOption` with the closest one."""
    try:
        return RunState(text)
    except ValueError:
        states, close = ", ".join(RunState), get_close_matches(text, list(RunState), n=1)
        hint = f"; did you mean {str(close[0])!r}?" if close else ""
        raise InvalidOption(
            f"expected a state to be one of {states}; got: {text!r}{hint}"
        ) from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _cursor(run: RunOutline) -> str:
    """Return where a page ends, in letters that a URL takes as they are."""
    return f"{(run.created_at - _EPOCH) // _MICROSECOND}-{run.id.hex}"


def _position(cursor: str | None) -> ListPosition | None:
    if cursor is None:
        return None
    try:
        moment, _, run_id = cursor.partition("-")
        return ListPosition(_EPOCH + int(moment) * _MICROSECOND, UUID(run_id))
    except (ValueError, OverflowError, TypeError, AttributeError):
        raise InvalidOption(
            f"expected cursor to be the next of a page of list_runs(), got: {cursor!r}"
        ) from None


def _summary(run: ListedRun) -> RunSummary:
    shown = {each.name: getattr(run, each.name) for each in fields(run)}
    return RunSummary(**{**shown, "error": None if run.error is None else from_text(run.error)})


def cancel_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Cancel a run and the children that close with it; False if it had ended already.

    At once if it is queued or suspended; an executing body is left at its next boundary.
    """
    permit = permitted("cancel_run", run_id := as_run_id(run_id), by=by, reason=reason)
    if permit.caller.tasks is not None:
        permit.get_run(run_id)
    canceled = run_control.cancel(permit.engine, run_id, reason, by=permit.by)
    if not canceled:
        run_control.get(permit.engine, run_id)
    return canceled


def retry_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Queue a failed or timed-out run again: its finished steps keep their checkpoints.

    It forgets the failures after which the run recorded nothing, so those steps are tried again,
    as often as their policies say; its history names them. What the body went on after stays
    as it was: ``fork_run`` goes back to before it. Raises ``IllegalTransition`` for any other run.
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
    return run_control.pause(permit.engine, run_id, permit.record)


def resume_run(run_id: UUID | str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused run go on; False if it was not paused, or has ended."""
    permit = permitted("resume_run", run_id := as_run_id(run_id), by=by, reason=reason)
    return run_control.resume(permit.engine, run_id, permit.record)


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
    verb = partial(run_control.reschedule, engine, run_id, permit.record)
    if isinstance(delay, datetime):
        available_at = instant(delay, "the new start")
        if available_at <= engine.patient.now():
            raise InvalidTime(
                f"expected the new start to be a time to come, got: {available_at.isoformat()}"
            )
        verb(available_at=available_at)
        return
    verb(delay=duration(delay, "the new delay"))


def _mapping(engine: Engine, text: str) -> dict[str, Any]:
    value: Any = engine.codec.decode(text) if text else {}
    return dict(value)


aget_run = twin(get_run)
alist_runs = twin(list_runs)
acancel_run = twin(cancel_run)
aretry_run = twin(retry_run)
apause_run = twin(pause_run)
aresume_run = twin(resume_run)
areschedule_run = twin(reschedule_run)
