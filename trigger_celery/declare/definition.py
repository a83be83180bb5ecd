"""What a durable task is, once declared: its body, its policies, its event, its version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import checkpoint as automatic_checkpoint
from trigger_celery.declare.automatic import rewrite
from trigger_celery.declare.hooks import NO_HOOKS, Hooks, check_hooks
from trigger_celery.declare.options import NO_OPTIONS, TriggerOptions
from trigger_celery.declare.queue import NO_QUEUEING, QUEUEING, Queueing, queueing
from trigger_celery.declare.schedule import Timetable, timetables
from trigger_celery.declare.source import source_of
from trigger_celery.errors import DeclarationError, DuplicateTask
from trigger_celery.values import JsonCodec
from trigger_celery.values.filters import Filter
from trigger_celery.vocabulary.checks import duration, valid_name
from trigger_celery.vocabulary.records import TaskVersion


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Each event of this name that passes the filter starts one run; ``source`` None is any."""

    name: str
    filter: Mapping[str, object]
    source: str | None = None


def event_trigger(
    task: str,
    signature: inspect.Signature,
    on_event: str | None,
    filter: Mapping[str, object] | None,
    source: str | None,
) -> EventTrigger | None:
    """Check ``on_event=``, ``filter=`` and ``source=`` of a task; None if no event starts it.

    Raises :exc:`DeclarationError`, :exc:`InvalidName` and :exc:`InvalidFilter`.
    """
    if on_event is None:
        for option, value in (("filter", filter), ("source", source)):
            if value is not None:
                raise DeclarationError(f"task {task!r} has a {option}= but no on_event=")
        return None
    valid_name(on_event, f"on_event of task {task!r}")
    Filter(on_event, filter, JsonCodec(), source=source)
    try:
        signature.bind(None)
    except TypeError as error:
        raise DeclarationError(
            f"expected task {task!r} with on_event= to take the event as its only argument: {error}"
        ) from None
    return EventTrigger(on_event, dict(filter or {}), source)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """A declared task. ``body`` is what the engine calls, ``fn`` what the author wrote.

    ``retry`` says how failures are tried again, None that the settings say it. ``aliases`` are
    the other names of the task.
    """

    name: str
    fn: Callable[..., Any]
    body: Callable[..., Any]
    is_async: bool
    bound: bool
    retry: RetryPolicy | None
    heartbeat_timeout: timedelta | None
    max_crashes: int | None
    version: TaskVersion
    signature: inspect.Signature
    retry_for: tuple[type[BaseException], ...] = (Exception,)
    no_retry_for: tuple[type[BaseException], ...] = ()
    on_event: EventTrigger | None = None
    schedules: Mapping[str, Timetable] = field(default_factory=dict)
    defaults: TriggerOptions = NO_OPTIONS
    queueing: Queueing = NO_QUEUEING
    hooks: Hooks = field(default_factory=lambda: NO_HOOKS)
    aliases: tuple[str, ...] = ()

    def under(self, alias: str) -> TaskDefinition:
        """Return the definition of the runs that are stored under an earlier name of the task."""
        others = tuple(name for name in (self.name, *self.aliases) if name != alias)
        return replace(self, name=alias, aliases=others)

    def retries(self, error: BaseException) -> bool:
        """Whether the declaration lets this failure be tried again."""
        return isinstance(error, self.retry_for) and not isinstance(error, self.no_retry_for)

    def check_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise :exc:`TypeError` unless the task can be called with these arguments."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"task {self.name!r}: {error}") from None


def define(
    fn: Callable[..., Any],
    *,
    name: str,
    bound: bool = False,
    retry: RetryPolicy | None = None,
    heartbeat_timeout: timedelta | float | None = None,
    max_crashes: int | None = None,
    checkpoint: str = "auto",
    retry_for: tuple[type[BaseException], ...] | None = None,
    no_retry_for: tuple[type[BaseException], ...] | None = None,
    on_event: str | None = None,
    filter: Mapping[str, object] | None = None,
    source: str | None = None,
    schedule: Timetable | Sequence[Timetable] = (),
    defaults: TriggerOptions = NO_OPTIONS,
    aliases: Sequence[str] = (),
    **others: Any,
) -> TaskDefinition:
    """Check a function and its options, those of ``durable_task``, and return its definition.

    ``bound`` says that the first parameter is the Celery task, ``defaults`` what holds unless
    a trigger says otherwise. The ``others`` are hooks, and what :func:`queueing` reads. Raises
    :exc:`DeclarationError` for what cannot be a durable task.
    """
    _check_function(fn, name)
    _check_policies(name, checkpoint, retry, max_crashes)
    return TaskDefinition(
        name=name,
        retry=retry,
        heartbeat_timeout=_lease(name, heartbeat_timeout),
        max_crashes=max_crashes,
        retry_for=retry_for or (Exception,),
        no_retry_for=no_retry_for or (),
        on_event=event_trigger(name, _signature(fn, bound), on_event, filter, source),
        schedules=_schedules(name, fn, bound, schedule),
        aliases=_aliases(name, aliases),
        **_others(name, _signature(fn, bound), defaults, others),
        **_of_function(name, fn, bound=bound, automatic=checkpoint == "auto"),
    )


def _of_function(
    name: str, fn: Callable[..., Any], *, bound: bool, automatic: bool
) -> dict[str, Any]:
    """Return what the function says of the definition."""
    is_async = inspect.iscoroutinefunction(fn)
    return {
        "fn": fn,
        "body": rewrite(fn, automatic_checkpoint) if is_async and automatic else fn,
        "is_async": is_async,
        "bound": bound,
        "version": _version(name, fn),
        "signature": _signature(fn, bound),
    }


def _others(
    name: str, signature: inspect.Signature, defaults: TriggerOptions, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the options say of the task's hooks and queue; its runs go there by default."""
    found = queueing(name, signature, given)
    if found.queue is not None:
        defaults = replace(defaults, queue=found.queue)
    hooks = {key: value for key, value in given.items() if key not in QUEUEING}
    return {"queueing": found, "defaults": defaults, "hooks": check_hooks(name, hooks)}


def _check_function(fn: object, name: str) -> None:
    valid_name(name, "a task's name")
    if not inspect.isfunction(fn):
        raise DeclarationError(
            f"expected a durable task to be a def or an async def, got: {fn!r}{_of_celery(fn)}"
        )
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DeclarationError(f"task {name!r} yields: a durable task returns its result")


def _of_celery(fn: object) -> str:
    if not hasattr(fn, "apply_async"):
        return ""
    return (
        ". It is a Celery task already: take the other decorator away, @durable_task makes a "
        "task of a plain function and takes the same options"
    )


def _check_policies(name: str, checkpoint: str, retry: object, max_crashes: object) -> None:
    if checkpoint not in ("auto", "explicit"):
        raise DeclarationError(
            f"expected checkpoint of task {name!r} to be 'auto' or 'explicit', got: {checkpoint!r}"
        )
    if not isinstance(retry, RetryPolicy | None):
        raise DeclarationError(
            f"expected retry of task {name!r} to be a RetryPolicy, got: {retry!r}"
        )
    if max_crashes is not None and (not isinstance(max_crashes, int) or max_crashes < 1):
        raise DeclarationError(
            f"expected max_crashes of task {name!r} to be at least 1, got: {max_crashes!r}"
        )


def _aliases(name: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise DeclarationError(
            f"expected aliases of task {name!r} to be a list of its earlier names, got: {given!r}"
        )
    for each in given:
        valid_name(each, f"an alias of task {name!r}")
    if name in given or len({*given}) < len(given):
        raise DeclarationError(f"task {name!r} names itself, or a name twice, in aliases={given!r}")
    return tuple(given)


def _lease(name: str, value: timedelta | float | None) -> timedelta | None:
    if value is None:
        return None
    length = duration(value, f"heartbeat_timeout of task {name!r}")
    if length < timedelta(seconds=1):
        raise DeclarationError(
            f"expected heartbeat_timeout of task {name!r} to be at least one second, got: {length}"
        )
    return length


def _version(name: str, fn: Callable[..., Any]) -> TaskVersion:
    source = source_of(fn)
    return TaskVersion(
        digest=source.digest,
        task=name,
        source=source.text,
        file=source.file,
        first_line=source.first_line,
    )


def _signature(fn: Callable[..., Any], bound: bool) -> inspect.Signature:
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())
    return signature.replace(parameters=parameters[1:] if bound else parameters)


def _schedules(
    name: str, fn: Callable[..., Any], bound: bool, given: object
) -> dict[str, Timetable]:
    found = timetables(name, given)
    for key, each in found.items():
        try:
            _signature(fn, bound).bind(*each.args, **each.kwargs)
        except TypeError as error:
            raise DeclarationError(f"schedule {key!r} of task {name!r}: {error}") from None
    return found


class TaskRegistry:
    """The durable tasks of this process, by name and by alias."""

    def __init__(self) -> None:
        self._definitions: dict[str, TaskDefinition] = {}
        self._aliases: dict[str, TaskDefinition] = {}

    def add(self, definition: TaskDefinition) -> None:
        """Register a task; a reload of the same function replaces it.

        Raises :exc:`DuplicateTask` for another function under the same name or alias.
        """
        for name in (definition.name, *definition.aliases):
            known = self._definitions.get(name) or self._aliases.get(name)
            if known is not None and _location(known) != _location(definition):
                raise DuplicateTask(
                    f"two durable tasks are called {name!r}: {_location(known)} and "
                    f"{_location(definition)}; give one of them another name=, or take the name "
                    "out of aliases="
                )
        self.remove(definition.name)
        self._definitions[definition.name] = definition
        for alias in definition.aliases:
            self._aliases[alias] = definition.under(alias)

    def get(self, name: str) -> TaskDefinition | None:
        """Return the definition of the runs that are stored under a name, or None."""
        return self._definitions.get(name) or self._aliases.get(name)

    def remove(self, name: str) -> None:
        """Forget a task (a test declared it for itself)."""
        definition = self._definitions.pop(name, None)
        for alias in () if definition is None else definition.aliases:
            self._aliases.pop(alias, None)

    def __iter__(self) -> Any:
        return iter(list(self._definitions.values()))


declared_tasks = TaskRegistry()


def _location(definition: TaskDefinition) -> str:
    return f"{definition.fn.__module__}.{definition.fn.__qualname__}"
