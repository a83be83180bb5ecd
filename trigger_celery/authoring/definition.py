"""What a durable task is, once declared: its body, its policies, the version of its source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from trigger_celery.authoring.automatic import rewrite
from trigger_celery.authoring.durations import duration
from trigger_celery.authoring.names import valid_name
from trigger_celery.authoring.source import source_of
from trigger_celery.authoring.steps import checkpoint as automatic_checkpoint
from trigger_celery.backoff import RetryPolicy
from trigger_celery.errors import DeclarationError, DuplicateTask
from trigger_celery.records import TaskVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDefinition:
    """A declared task. ``body`` is what the engine calls, ``fn`` what the author wrote."""

    name: str
    fn: Callable[..., Any]
    body: Callable[..., Any]
    is_async: bool
    bound: bool
    retry: RetryPolicy
    heartbeat_timeout: timedelta | None
    max_crashes: int | None
    version: TaskVersion
    signature: inspect.Signature
    retry_for: tuple[type[BaseException], ...] = (Exception,)
    no_retry_for: tuple[type[BaseException], ...] = ()

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
) -> TaskDefinition:
    """Check a function and its options and return its definition.

    ``checkpoint="auto"`` makes every ``await`` of an async body a step, ``"explicit"`` leaves
    that to ``@step``. ``bound`` says that the first parameter is the Celery task.
    ``retry_for`` and ``no_retry_for`` narrow down which failures of the body are retried.

    Raises :exc:`DeclarationError` for what cannot be a durable task.
    """
    valid_name(name, "a task's name")
    _check_function(fn, name)
    _check_policies(name, checkpoint, retry, max_crashes)
    is_async = inspect.iscoroutinefunction(fn)
    automatic = is_async and checkpoint == "auto"
    return TaskDefinition(
        name=name,
        fn=fn,
        body=rewrite(fn, automatic_checkpoint) if automatic else fn,
        is_async=is_async,
        bound=bound,
        retry=retry or RetryPolicy(),
        heartbeat_timeout=_lease(name, heartbeat_timeout),
        max_crashes=max_crashes,
        version=_version(name, fn),
        signature=_signature(fn, bound),
        retry_for=retry_for or (Exception,),
        no_retry_for=no_retry_for or (),
    )


def _check_function(fn: object, name: str) -> None:
    if not inspect.isfunction(fn):
        raise DeclarationError(f"expected a durable task to be a def or an async def, got: {fn!r}")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DeclarationError(f"task {name!r} yields: a durable task returns its result")


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


class Registry:
    """The durable tasks of this process, by name."""

    def __init__(self) -> None:
        self._definitions: dict[str, TaskDefinition] = {}

    def add(self, definition: TaskDefinition) -> None:
        """Register a task; a reload of the same function replaces it.

        Raises :exc:`DuplicateTask` for another function under the same name.
        """
        known = self._definitions.get(definition.name)
        if known is not None and _place(known) != _place(definition):
            raise DuplicateTask(
                f"two durable tasks are called {definition.name!r}: {_place(known)} and "
                f"{_place(definition)}; give one of them another name="
            )
        self._definitions[definition.name] = definition

    def get(self, name: str) -> TaskDefinition | None:
        """Return the definition, or None."""
        return self._definitions.get(name)

    def remove(self, name: str) -> None:
        """Forget a task (a test declared it for itself)."""
        self._definitions.pop(name, None)

    def __iter__(self) -> Any:
        return iter(list(self._definitions.values()))


registry = Registry()


def _place(definition: TaskDefinition) -> str:
    return f"{definition.fn.__module__}.{definition.fn.__qualname__}"
