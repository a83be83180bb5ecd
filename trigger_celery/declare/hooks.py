"""Hooks of a task: what else its author wants to be called, and with what."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from trigger_celery.backoff import RetryPolicy
from trigger_celery.config import suggest
from trigger_celery.errors import DeclarationError, InvalidTime, UnknownOption
from trigger_celery.vocabulary.checks import duration, instant
from trigger_celery.vocabulary.states import RunState

Hooks: TypeAlias = Mapping[str, Callable[..., Any]]

HOOKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "on_start": ("run",),
        "on_wait": ("run", "waits"),
        "on_resume": ("run",),
        "catch_error": ("run", "error"),
        "on_success": ("run", "output"),
        "on_failure": ("run", "error"),
        "on_cancel": ("run", "reason"),
        "on_complete": ("run", "result"),
    }
)
"""The hooks and the keyword arguments that each is called with."""
AT_END = frozenset({"on_success", "on_failure", "on_cancel", "on_complete"})
"""Hooks that the worker calls which publishes the end of a run."""
NO_HOOKS: Hooks = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitInfo:
    """Something that a run waits for.

    ``kind`` is the call (``"sleep"``, ``"wait_for_event"`` ...), ``name`` the event's.
    """

    key: str
    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended: ``output`` is what it returned, ``error`` why it did not succeed."""

    state: RunState
    output: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What ``catch_error`` decides about the next attempt of a run that has failed.

    The first of these that is given holds: ``skip_retrying`` (there is none),
    ``retry_at`` (an aware time), ``retry_after`` (from now), ``retry`` (a policy that stands
    in for the task's, with its ``max_attempts``). ``error`` is recorded instead of what the
    body raised, and is judged instead of it if nothing else is given.

    Raises :exc:`DeclarationError` for values of other types, a naive time, one beyond the years
    1900 to 9000, a negative duration or one over a hundred years.
    """

    skip_retrying: bool = False
    retry_at: datetime | None = None
    retry_after: timedelta | None = None
    retry: RetryPolicy | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        _expect("skip_retrying", self.skip_retrying, bool)
        _expect("retry_at", self.retry_at, datetime | None)
        _expect("retry_after", self.retry_after, timedelta | None)
        _expect("retry", self.retry, RetryPolicy | None)
        _expect("error", self.error, Exception | None)
        try:
            if self.retry_at is not None:
                instant(self.retry_at, "Caught.retry_at")
            if self.retry_after is not None:
                duration(self.retry_after, "Caught.retry_after")
        except InvalidTime as error:
            raise DeclarationError(str(error)) from None


def caught(answer: object) -> Caught:
    """Return what an answer of ``catch_error`` means; None decides nothing.

    A time, a duration, a policy or an exception stand for a :class:`Caught` with just that.
    Raises :exc:`DeclarationError` for anything else.
    """
    if answer is None:
        return Caught()
    if isinstance(answer, Caught):
        return answer
    if isinstance(answer, datetime):
        return Caught(retry_at=answer)
    if isinstance(answer, timedelta):
        return Caught(retry_after=answer)
    if isinstance(answer, RetryPolicy):
        return Caught(retry=answer)
    if isinstance(answer, Exception):
        return Caught(error=answer)
    raise DeclarationError(
        "expected catch_error to return None, a Caught, a datetime, a timedelta, a RetryPolicy "
        f"or an exception, got: {answer!r}"
    )


def check_hooks(task: str, given: Mapping[str, object]) -> Hooks:
    """Return the hooks of a task that are not None.

    Raises :exc:`UnknownOption` for a name that is no hook, and :exc:`DeclarationError` for
    what cannot be called with the arguments of its hook.
    """
    found: dict[str, Callable[..., Any]] = {}
    for name, hook in given.items():
        if name not in HOOKS:
            raise UnknownOption(f"task {task!r}: there is no hook {name!r}{suggest(name, HOOKS)}")
        if hook is None:
            continue
        if not callable(hook):
            raise DeclarationError(
                f"expected {name} of task {task!r} to be callable, got: {hook!r}"
            )
        _check_signature(task, name, hook)
        found[name] = hook
    return MappingProxyType(found) if found else NO_HOOKS


def _check_signature(task: str, name: str, hook: Callable[..., Any]) -> None:
    arguments = HOOKS[name]
    try:
        inspect.signature(hook).bind(**dict.fromkeys(arguments))
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            f"{name} of task {task!r} is called as {name}({', '.join(f'{a}=' for a in arguments)})"
            f", and {hook!r} cannot be: {error}"
        ) from None


def _expect(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        raise DeclarationError(f"expected Caught.{name} to be {kind}, got: {value!r}")
