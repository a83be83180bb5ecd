"""Creates runs with the caller's work and nudges workers once that is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery.body.context import CurrentRun, current_session
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import METADATA_LIMIT, NO_OPTIONS, TriggerOptions
from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.patience import following
from trigger_celery.engine.queues import admission
from trigger_celery.engine.runs import idempotency
from trigger_celery.engine.runs.consequences import close
from trigger_celery.engine.runs.origins import encode_origin
from trigger_celery.engine.runs.routing import routed
from trigger_celery.errors import InvalidOption
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.news import Topic
from trigger_celery.vocabulary.records import (
    Created,
    FromEvent,
    FromSchedule,
    NewKey,
    NewRun,
    Nudge,
    Origin,
)
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A run that a caller asks for.

    A run that exists under ``id`` already is left alone. ``canvas`` is what the dispatcher
    must know of the run; None leaves that to the engine. ``origin`` is what asks for it.
    ``keyless`` says that the arguments give no concurrency key. ``source`` asks from outside of
    this application, and has idempotency and debounce keys of its own.
    """

    definition: TaskDefinition
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: TriggerOptions = NO_OPTIONS
    id: UUID | None = None
    canvas: str | None = None
    origin: Origin | None = None
    keyless: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run that a request got; ``created`` is false if its key gave one from before."""

    id: UUID
    created: bool


def trigger(
    engine: Engine,
    definition: TaskDefinition,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    id: UUID | None = None,
    options: TriggerOptions = NO_OPTIONS,
    canvas: str | None = None,
    origin: Origin | None = None,
) -> UUID:
    """Create a run in the caller's transaction and return its id; see :class:`Request`.

    Raises ``TypeError`` for arguments the task does not take, the codec's errors and
    ``InvalidOption`` before anything is written, ``IdempotencyConflict`` without a trace.
    """
    request = Request(
        definition=definition,
        args=args,
        kwargs=kwargs or {},
        options=options,
        id=id,
        canvas=canvas,
        origin=origin,
    )
    return start(engine, [request])[0].id


def start(engine: Engine, requests: Sequence[Request]) -> list[Started]:
    """Create runs in the caller's transaction, all of them or none; return one for each.

    Raises what :func:`trigger` raises.
    """
    runs = [new_run(engine, request) for request in requests]
    asked = [_keys(run, request) for run, request in zip(runs, requests, strict=True)]
    if any(asked):
        return engine.resolve(partial(_start_with_keys, engine, runs, asked, requests))
    engine.resolve(partial(_start_without_keys, engine, runs))
    return [Started(id=run.id, created=True) for run in runs]


def _start_without_keys(engine: Engine, runs: Sequence[NewRun], again: bool) -> None:
    together = len(runs) > 1 or any(run.tags for run in runs)
    with engine.store.joined() if together else nullcontext():
        _create(engine, runs, again=again)


def _start_with_keys(
    engine: Engine,
    runs: Sequence[NewRun],
    asked: Sequence[Sequence[NewKey]],
    requests: Sequence[Request],
    again: bool,
) -> list[Started]:
    with engine.store.joined():
        held = idempotency.hold(engine.store, asked)
        conflict = held.conflict
        if conflict is None:
            started = [
                Started(id=run.id if holder is None else holder, created=holder in (None, run.id))
                for run, holder in zip(runs, held.ids, strict=True)
            ]
            new = [run for run, its in zip(runs, started, strict=True) if its.created]
            _create(engine, new, again=again)
            _push_back(engine, runs, asked, requests, started)
    if conflict is not None:  # raised out here: the caller's transaction goes on
        raise conflict
    return started


def _push_back(
    engine: Engine,
    runs: Sequence[NewRun],
    asked: Sequence[Sequence[NewKey]],
    requests: Sequence[Request],
    started: list[Started],
) -> None:
    """Push back the runs that hold debounce keys; one that is asked for too late follows."""
    followers: dict[UUID, UUID] = {}
    for index, its in enumerate(started):
        if its.created:
            continue
        run, holder = runs[index], followers.get(its.id, its.id)
        if idempotency.push_back(engine.store, holder, run, requests[index].options):
            started[index] = Started(id=holder, created=False)
        else:
            idempotency.take(engine.store, asked[index])
            _create(engine, [run], again=False)
            followers[its.id] = run.id
            started[index] = Started(id=run.id, created=True)


def _create(engine: Engine, runs: Sequence[NewRun], *, again: bool) -> None:
    if not runs:
        return
    created = engine.store.runs.create(runs)
    if again:  # those that the lost answer was about are nudged too
        created = Created(run.id for run in runs).standing(created.lines)
    of_creation(engine, runs, created)


def of_creation(engine: Engine, runs: Sequence[NewRun], created: Created) -> None:
    """Let new runs begin once the caller's transaction commits, and send their signal.

    Those that close with a parent which was canceled meanwhile are canceled after it; the
    runs of a fan-out are created under the lease of their parent, and need no such look.
    """
    begin(engine, runs, created)
    if engine.listeners.wants(Topic.RUN_CREATED):
        notifications.created(engine, runs, created)
    for run in runs:
        if run.closes_with_parent and run.parent_id is not None and not run.parent_key:
            engine.after_commit(partial(_close_late, engine, run.parent_id))
            break  # all have the parent whose body creates them


def begin(engine: Engine, runs: Sequence[NewRun], created: Created) -> None:
    """Let those of the runs begin that were created and may, once the transaction commits.

    Runs in line are let in if there is room; the others are nudged.
    """
    nudges = [
        Nudge(run_id=run.id, task=run.task, canvas=run.canvas)
        for run in runs
        if run.id in created
        and run.id not in created.lines
        and not run.delay
        and run.available_at is None
    ]
    publishing: list[Callable[[], object]] = (
        [partial(engine.dispatcher.nudge, nudges)] if nudges else []
    )
    for line in sorted(set(created.lines.values())):
        # "following" is said again, as the context below is of before the commit.
        publishing.append(partial(following, partial(admission.admit, engine, line)))
    if publishing:
        context = copy_context()  # the caller's, which says that an eager call publishes nothing
        for each in publishing:
            engine.after_commit(partial(context.run, each))


def _close_late(engine: Engine, parent_id: UUID) -> None:
    parent = engine.patient.runs.get(parent_id)
    if parent is not None and parent.state is RunState.CANCELED:
        close(engine, parent_id)


def new_run(engine: Engine, request: Request) -> NewRun:
    """Return the run that is asked for, checked and not yet stored.

    Raises what :func:`trigger` raises before anything is written.
    """
    definition = request.definition
    try:
        definition.signature.bind(*request.args, **request.kwargs)
    except TypeError:
        definition.check_arguments(tuple(request.args), request.kwargs)
        raise
    options = _options(request)
    if options.queue is not None or definition.queueing.concurrency_key is not None:
        keyed_by = None if request.keyless else request.args
        options = routed(engine, definition, options, keyed_by, request.kwargs)
    parent = _parent(request)
    canvas = request.canvas
    return NewRun(
        id=request.id or new_id(),
        task=definition.name,
        input=encode_input(engine, definition.name, request.args, request.kwargs),
        canvas=engine.canvas_of(definition.name, options.priority) if canvas is None else canvas,
        max_crashes=definition.max_crashes or engine.configure().max_crashes,
        tags=tuple(options.tags),
        metadata=_metadata_text(engine, definition.name, options),
        priority=options.priority or 0,
        max_attempts=options.max_attempts,
        queue=str(options.queue or ""),
        concurrency_key=options.concurrency_key or "",
        parent_id=None if parent is None else parent.id,
        closes_with_parent=parent is not None and options.parent_close == "cancel",
        root_id=None if parent is None else parent.root_id or parent.id,
        origin="" if request.origin is None else encode_origin(engine.codec, request.origin),
        schedule=request.origin.schedule if isinstance(request.origin, FromSchedule) else "",
        **_times(options),
    )


def _parent(request: Request) -> CurrentRun | None:
    """Return the run whose body asks; what an event or a schedule starts is the child of none."""
    session = current_session()
    if session is None or isinstance(request.origin, FromEvent | FromSchedule):
        return None
    return session.describe()


def _options(request: Request) -> TriggerOptions:
    """Return the options of a call over those of its task."""
    defaults = request.definition.defaults
    return defaults if request.options is NO_OPTIONS else request.options.over(defaults)


def _keys(run: NewRun, request: Request) -> Sequence[NewKey]:
    options = _options(request)
    if options.idempotency_key is None and options.debounce is None:
        return ()
    return idempotency.keys_for(run, options, request.definition.aliases, request.source)


def _times(options: TriggerOptions) -> dict[str, Any]:
    """Return the times of a run; all durations of options are ``timedelta`` by now."""
    delay = options.delay if options.debounce is None else options.debounce.delay
    at = {"available_at": delay} if isinstance(delay, datetime) else {"delay": delay or timedelta()}
    end = {"expires_at" if isinstance(options.ttl, datetime) else "ttl": options.ttl}
    return {**at, **end, "max_duration": options.max_duration}


def _metadata_text(engine: Engine, task: str, options: TriggerOptions) -> str:
    if options.metadata is None:
        return ""
    text = engine.codec.encode(dict(options.metadata), what=f"the metadata of task {task!r}")
    if len(text) > METADATA_LIMIT:
        raise InvalidOption(
            f"expected the metadata of task {task!r} to be at most {METADATA_LIMIT:,} "
            f"characters of JSON, got {len(text):,}"
        )
    return text


def encode_input(engine: Engine, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the text of a run's input."""
    value = [list(args), dict(kwargs)]
    return engine.codec.encode(value, what=f"the arguments of task {task!r}")


def decode_input(engine: Engine, text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments of a stored input."""
    pair: Any = engine.codec.decode(text)
    return pair[0], pair[1]
