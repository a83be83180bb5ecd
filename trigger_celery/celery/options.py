"""The options of ``@durable_task`` and ``apply_async``: which are Celery's, which ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, cast

from celery.schedules import crontab

from trigger_celery.backoff import RetryPolicy
from trigger_celery.celery.canvas import of_message
from trigger_celery.celery.crontabs import as_schedules
from trigger_celery.client.access import database_time
from trigger_celery.config import suggest
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.declare.limits import RateLimit
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.declare.queue import QUEUEING, KeyRule, Queue
from trigger_celery.declare.schedule import Timetable
from trigger_celery.errors import DeclarationError, InvalidOption, InvalidTime, UnknownOption
from trigger_celery.vocabulary.checks import duration, instant


class CeleryOptions(TypedDict, total=False):
    """Options of ``shared_task`` that are passed on as they are."""

    base: type[Any]
    name: str | None
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    queue: Queue | str
    routing_key: str
    exchange: str
    rate_limit: RateLimit | str | float
    time_limit: float
    soft_time_limit: float
    serializer: str
    compression: str
    backend: Any
    result_extended: bool
    resultrepr_maxsize: int
    send_events: bool
    trail: bool
    throws: tuple[type[Exception], ...]
    shared: bool
    lazy: bool
    Strategy: str
    store_eager_result: bool


class OverruledOptions(TypedDict, total=False):
    """Celery's options that mean nothing for a nudge: they are taken, and dropped."""

    acks_late: bool
    acks_on_failure_or_timeout: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool
    retry_on_worker_lost: bool
    typing: bool


class RetryOptions(TypedDict, total=False):
    """Celery's options for retries; they are translated into a :class:`RetryPolicy`."""

    max_retries: int | None
    default_retry_delay: float
    autoretry_for: type[Exception] | Sequence[type[Exception]]
    dont_autoretry_for: type[Exception] | Sequence[type[Exception]]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool


class OwnOptions(TypedDict, total=False):
    """Options of durable tasks alone."""

    retry: RetryPolicy | None
    heartbeat_timeout: timedelta | float | None
    max_crashes: int | None
    checkpoint: Literal["auto", "explicit"]


class NameOptions(TypedDict, total=False):
    """Names under which runs of the task are stored, beside its own."""

    aliases: Sequence[str]


class StartOptions(TypedDict, total=False):
    """What starts runs of the task beside calls."""

    schedule: Timetable | crontab | Sequence[Timetable | crontab]
    on_event: str | None
    filter: Mapping[str, object] | None
    source: str | None


class RunOptions(TypedDict, total=False):
    """What a trigger may say of a run, said for all runs of the task; ``expires`` is ``ttl``."""

    ttl: timedelta | float | datetime | None
    expires: timedelta | float | datetime | None
    max_duration: timedelta | float | None
    tags: Sequence[str]
    priority: int | None


class QueueOptions(TypedDict, total=False):
    """What limits the runs of the task, beside ``queue`` and ``rate_limit``."""

    concurrency_limit: int | None
    concurrency_key: KeyRule | None


class HookOptions(TypedDict, total=False):
    """What is called beside the body, each with the arguments that ``HOOKS`` names."""

    on_start: Callable[..., object] | None
    on_wait: Callable[..., object] | None
    on_resume: Callable[..., object] | None
    catch_error: Callable[..., object] | None
    on_success: Callable[..., object] | None
    on_failure: Callable[..., object] | None
    on_cancel: Callable[..., object] | None
    on_complete: Callable[..., object] | None


class TaskOptions(
    CeleryOptions,
    OverruledOptions,
    RetryOptions,
    OwnOptions,
    NameOptions,
    StartOptions,
    RunOptions,
    QueueOptions,
    HookOptions,
    total=False,
):
    """What ``@durable_task`` takes by name, beside ``bind``."""


RETRIES = frozenset(RetryOptions.__annotations__)
STARTING = frozenset(StartOptions.__annotations__)
DEFAULTS = frozenset(RunOptions.__annotations__)
TAKEN = frozenset().union(
    RETRIES,
    STARTING,
    DEFAULTS,
    HOOKS,
    NameOptions.__annotations__,
    OverruledOptions.__annotations__,
)
"""Options that are not passed on."""
CELERYS_TOO = {"queue": Queue, "rate_limit": RateLimit}
"""Options that are ours if they are of this class, and else Celery's."""


def check_options(task: str, options: Mapping[str, Any], retry: RetryPolicy | None) -> None:
    """Raise :exc:`UnknownOption` for a name that no option has, with the closest one.

    Raises :exc:`DeclarationError` for retries and expiries that are declared twice.
    """
    known = dict.fromkeys(("bind", *TaskOptions.__annotations__))
    for option in options:
        if option.startswith("pydantic"):
            raise UnknownOption(
                f"task {task!r}: durable_task takes no {option}=: a run keeps the types of its "
                "arguments and its result. Register your models with trigger_celery.register"
            )
        if option not in known:
            raise UnknownOption(
                f"task {task!r}: durable_task has no option {option!r}{suggest(option, known)}"
            )
    if options.get("ttl") is not None and options.get("expires") is not None:
        raise DeclarationError(
            f"task {task!r} has both ttl= and expires=: they say the same thing, leave one out"
        )
    both = sorted(RETRIES & options.keys() - {"autoretry_for", "dont_autoretry_for"})
    if retry is not None and both:
        raise DeclarationError(
            f"task {task!r} has both retry= and {both[0]}=: they say the same thing, leave one out"
        )


def run_defaults(options: Mapping[str, Any]) -> TriggerOptions:
    """Return what holds for each run of the task unless its trigger says otherwise."""
    given = {name: options[name] for name in DEFAULTS if options.get(name) is not None}
    if "expires" in given:
        given["ttl"] = given.pop("expires")
    return TriggerOptions(**given)


def for_definition(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the definition reads: what starts it, its hooks and its queue."""
    known = (*STARTING, *HOOKS, *_of_queues(options))
    said = {name: options[name] for name in known if name in options}
    if "schedule" in said:
        said["schedule"] = as_schedules(said["schedule"])
    return said


def _of_queues(options: Mapping[str, Any]) -> list[str]:
    """Return which options say something of durable queues, and not to Celery."""
    return [
        name
        for name in QUEUEING
        if name in options and isinstance(options[name], CELERYS_TOO.get(name, object))
    ]


def passed_on(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that Celery gets."""
    taken = TAKEN.union(_of_queues(options))
    return {name: value for name, value in options.items() if name not in taken}


OURS = (
    "ttl",
    "idempotency_key",
    "idempotency_scope",
    "idempotency_ttl",
    "debounce",
    "tags",
    "metadata",
    "max_attempts",
    "max_duration",
    "concurrency_key",
    "parent_close",
)
"""Trigger options that ``apply_async`` takes too; ``priority`` is Celery's there.

So is ``queue``, unless it is a :class:`Queue`.
"""


def take_ours(
    options: dict[str, Any], *, countdown: float | None, eta: datetime | None
) -> TriggerOptions:
    """Remove our options from those of a call and return them with when the run may start.

    A priority stays, as that of the messages. ``expires`` becomes the ``ttl``.

    Raises :exc:`InvalidOption`, :exc:`InvalidTime`, :exc:`InvalidName`.
    """
    ours = {name: options.pop(name) for name in OURS if name in options}
    expires = options.pop("expires", None)
    if expires is not None:
        if ours.get("ttl") is not None:
            raise InvalidOption("expected ttl or expires, got both: they say the same thing")
        ours["ttl"] = expiry(expires, delayed=eta is not None or bool(countdown))
    if isinstance(options.get("queue"), Queue):
        ours["queue"] = options.pop("queue")
    if eta is not None:
        ours["delay"] = instant(eta, "eta")
    elif countdown:
        ours["delay"] = duration(countdown, "countdown")
    taken = TriggerOptions(**ours, priority=options.get("priority"))
    if taken.priority is not None:
        options["priority"] = of_message(taken.priority)
    return taken


def expiry(expires: object, *, delayed: bool = False) -> timedelta | datetime:
    """Return the ``ttl`` that Celery's ``expires`` of a call is.

    Seconds count from the call, so for a run that is ``delayed`` they name a time. A text is a
    time as messages write it, in UTC unless it says otherwise. Raises :exc:`InvalidTime` for a
    naive time and for no time.
    """
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires)
            expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        except ValueError:
            raise InvalidTime(
                f"expected expires to be seconds or an aware datetime, got: {expires!r}"
            ) from None
    if isinstance(expires, datetime):
        return instant(expires, "expires")
    length = duration(cast("timedelta | float", expires), "expires")
    return database_time() + length if delayed or not length else length
