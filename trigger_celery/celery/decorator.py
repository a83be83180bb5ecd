"""``@durable_task``: declares a function as a Celery task whose runs are durable."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from celery import current_app, shared_task
from celery.utils.functional import head_from_fun

from trigger_celery.backoff import RetryPolicy
from trigger_celery.celery.options import (
    RETRIES,
    TaskOptions,
    check_options,
    for_definition,
    passed_on,
    run_defaults,
)
from trigger_celery.celery.retrying import said_of_retries
from trigger_celery.celery.task import DurableTask
from trigger_celery.declare.definition import TaskDefinition, declared_tasks, define
from trigger_celery.errors import DeclarationError

if TYPE_CHECKING:
    from trigger_celery.celery.task import AsyncDurableTask

P = ParamSpec("P")
R = TypeVar("R")


class Declares(Protocol):
    """What ``@durable_task(...)`` is: it makes a task of a function."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncDurableTask[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> DurableTask[P, R]: ...


class DeclaresBound(Protocol):
    """What ``@durable_task(bind=True)`` is: the function's first parameter is the task."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncDurableTask[P, R]: ...

    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> DurableTask[P, R]: ...


@overload
def durable_task(
    fn: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]
) -> AsyncDurableTask[P, R]: ...


@overload
def durable_task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> DurableTask[P, R]: ...


@overload
def durable_task(*, bind: Literal[True], **options: Unpack[TaskOptions]) -> DeclaresBound: ...


@overload
def durable_task(*, bind: Literal[False] = False, **options: Unpack[TaskOptions]) -> Declares: ...


def durable_task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    heartbeat_timeout: timedelta | float | None = None,
    max_crashes: int | None = None,
    checkpoint: str = "auto",
    **options: Any,
) -> Any:
    """Declare a durable task; a superset of ``shared_task``.

    ``retry`` says how a failed run is tried again (default: the setting ``DEFAULT_RETRY``).
    ``heartbeat_timeout`` (``timedelta`` or seconds, default 60 s) is how long a worker may be
    silent before the run goes elsewhere, ``max_crashes`` (3) how many workers it may lose.
    ``checkpoint="explicit"`` leaves an ``async def``'s awaits alone. ``aliases`` are earlier names.
    ``schedule`` (``cron()``, ``every()``) starts runs, as each event ``on_event`` does that passes
    ``filter``, of this ``source``. Options of a trigger, as ``ttl`` (``expires``), hold for every
    run. ``queue`` (a ``Queue``), ``concurrency_limit``, ``rate_limit`` (a ``RateLimit``) and
    ``concurrency_key`` limit them. Celery's keep their meaning, but for acknowledgement; a text
    ``queue`` is Celery's. Raises :exc:`DeclarationError` and its kinds at once.
    """
    crashes: dict[str, Any] = {"heartbeat_timeout": heartbeat_timeout, "max_crashes": max_crashes}

    def declare(fn: Callable[..., Any]) -> Any:
        task_name = name or current_app.gen_task_name(_name(fn), fn.__module__)
        check_options(task_name, options, retry)
        definition = define(
            fn,
            name=task_name,
            retry=retry or _of_autoretry(options),
            checkpoint=checkpoint,
            **crashes,
            **_said(options),
        )
        return _register(fn, definition, options, said_of_retries(options, retry))

    return declare if fn is None else declare(fn)


def _register(
    fn: Callable[..., Any],
    definition: TaskDefinition,
    options: dict[str, Any],
    attributes: dict[str, Any],
) -> Any:
    """Make the function a Celery task with what is left of its options, and these attributes."""
    # Celery calls an errback with several parameters inline, in the worker of the failed run,
    # unless its head is a partial: then it is started, as any task.
    head: Any = staticmethod(partial(head_from_fun(fn, bound=definition.bound)))
    passed = {**passed_on(options), **attributes, "__header__": head}
    if "track_started" in passed:
        passed["tracks_started"] = passed.pop("track_started")
    base = passed.pop("base", DurableTask)
    if not (isinstance(base, type) and issubclass(base, DurableTask)):
        raise DeclarationError(
            f"expected base of task {definition.name!r} to be a DurableTask, got: {base!r}"
        )
    declared_tasks.add(definition)
    for alias in definition.aliases:
        _shared(fn, definition.under(alias), base, passed)
    return _shared(fn, definition, base, passed)


def _shared(
    fn: Callable[..., Any], definition: TaskDefinition, base: type[Any], passed: dict[str, Any]
) -> Any:
    register: Any = shared_task(name=definition.name, base=base, durable=definition, **passed)
    return register(fn)


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options, Celery's and ours, say of the definition."""
    return {
        **for_definition(options),
        "aliases": options.get("aliases", ()),
        "defaults": run_defaults(options),
        "bound": bool(options.get("bind")),
        "retry_for": _classes(options, "autoretry_for"),
        "no_retry_for": _classes(options, "dont_autoretry_for"),
    }


def _name(fn: object) -> str:
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str):
        raise DeclarationError(f"expected a durable task to be a def or an async def, got: {fn!r}")
    return name


def _of_autoretry(options: dict[str, Any]) -> RetryPolicy | None:
    """Return the policy for what Celery's ``autoretry_for`` names; None without it."""
    if not options.get("autoretry_for"):
        return None
    said = (RETRIES - {"autoretry_for", "dont_autoretry_for"}) & options.keys()
    return _translated(options) if said else RetryPolicy()


def _translated(options: dict[str, Any]) -> RetryPolicy:
    """Return the policy that Celery's retry options describe, with Celery's defaults."""
    given = {**options, **(options.get("retry_kwargs") or {})}
    retries = given.get("max_retries", 3)
    backoff = given.get("retry_backoff", False)
    if backoff:
        longest = float(given.get("retry_backoff_max", 600))
        return RetryPolicy(
            max_attempts=_attempts(retries),
            factor=2,
            min_delay=min(float(backoff), longest),
            max_delay=longest,
            jitter=bool(given.get("retry_jitter", True)),
        )
    delay = float(given.get("countdown", given.get("default_retry_delay", 180)))
    return RetryPolicy(
        max_attempts=_attempts(retries), factor=1, min_delay=delay, max_delay=delay, jitter=False
    )


def _attempts(retries: int | None) -> int:
    return 1_000_000 if retries is None else int(retries) + 1


def _classes(options: dict[str, Any], name: str) -> tuple[type[BaseException], ...] | None:
    given = options.get(name)
    if given is None:
        return None
    return (given,) if isinstance(given, type) else tuple(given)
