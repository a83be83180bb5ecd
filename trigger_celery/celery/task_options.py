"""The options that ``@durable_task`` knows: whose they are, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trigger_celery.backoff import RetryPolicy
from trigger_celery.config import suggest
from trigger_celery.declare.hooks import HOOKS
from trigger_celery.declare.limits import RateLimit
from trigger_celery.declare.queue import Queue
from trigger_celery.declare.task_queue import QUEUEING
from trigger_celery.errors import DeclarationError, UnknownOption

CELERY_OPTIONS = frozenset(
    {
        "base",
        "bind",
        "name",
        "ignore_result",
        "store_errors_even_if_ignored",
        "track_started",
        "queue",
        "routing_key",
        "exchange",
        "rate_limit",
        "time_limit",
        "soft_time_limit",
        "serializer",
        "compression",
        "backend",
        "result_extended",
        "resultrepr_maxsize",
        "send_events",
        "trail",
        "throws",
        "shared",
        "lazy",
        "acks_late",
        "acks_on_failure_or_timeout",
        "acks_on_failure",
        "acks_on_timeout",
        "reject_on_worker_lost",
        "typing",
        "expires",
        "Strategy",
    }
)
"""Options of ``shared_task`` that are passed on as they are."""
RETRIES = frozenset(
    {
        "max_retries",
        "default_retry_delay",
        "autoretry_for",
        "dont_autoretry_for",
        "retry_kwargs",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
    }
)
"""Celery's options for retries; they are translated into a :class:`RetryPolicy`."""
OURS = frozenset({"retry", "heartbeat_timeout", "max_crashes", "checkpoint"})
"""Options of durable tasks alone."""
STARTING = frozenset({"schedule", "on_event", "filter"})
"""What starts runs of the task beside calls."""
DEFAULTS = frozenset({"ttl", "max_duration", "tags", "priority"})
"""What a trigger may say of a run, said for all runs of the task."""
OVERRULED = frozenset(
    {
        "acks_late",
        "acks_on_failure_or_timeout",
        "acks_on_failure",
        "acks_on_timeout",
        "reject_on_worker_lost",
        "typing",
        "expires",
    }
)
"""Celery's options that mean nothing for a nudge: they are taken, and dropped."""
TAKEN = RETRIES | OVERRULED | DEFAULTS | STARTING | HOOKS.keys()
"""Options that are not passed on."""
CELERYS_TOO = {"queue": Queue, "rate_limit": RateLimit}
"""Options that are ours if they are of this class, and else Celery's."""


def check_options(task: str, options: Mapping[str, Any], retry: RetryPolicy | None) -> None:
    """Raise :exc:`UnknownOption` for a name nobody knows, with the closest one.

    Raises :exc:`DeclarationError` for retries that are declared twice.
    """
    known = dict.fromkeys(
        CELERY_OPTIONS | RETRIES | OURS | STARTING | DEFAULTS | QUEUEING | HOOKS.keys()
    )
    for option in options:
        if option not in known:
            raise UnknownOption(
                f"task {task!r}: durable_task has no option {option!r}{suggest(option, known)}"
            )
    both = sorted(RETRIES & options.keys() - {"autoretry_for", "dont_autoretry_for"})
    if retry is not None and both:
        raise DeclarationError(
            f"task {task!r} has both retry= and {both[0]}=: they say the same thing, leave one out"
        )


def for_definition(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the definition reads: what starts it, its hooks and its queue."""
    known = (*STARTING, *HOOKS, *_of_queues(options))
    return {name: options[name] for name in known if name in options}


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
