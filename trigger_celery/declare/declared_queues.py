"""What settings say of durable queues, and all that is declared: settings win over code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.limits import RATES, RateLimit, checked
from trigger_celery.declare.queue import queues
from trigger_celery.errors import DeclarationError, InvalidName
from trigger_celery.vocabulary.checks import valid_queue_name
from trigger_celery.vocabulary.records import EVERYTHING, NO_LIMITS, OF_TASK, Limits


def limits_in_settings(config: Config) -> dict[str, dict[str, Any]]:
    """Return what ``QUEUES`` says, by queue and by name in :class:`Limits`.

    Raises :exc:`DeclarationError` and its kinds.
    """
    found = {}
    for name, given in config.queues.items():
        what = f"TRIGGER_CELERY['QUEUES'][{name!r}]"
        try:
            valid_queue_name(name, f"the name in {what}")
        except InvalidName as error:
            raise DeclarationError(str(error)) from None
        if not isinstance(given, Mapping):
            raise DeclarationError(
                f"expected {what} to be a mapping such as {{'concurrency_limit': 10}}, "
                f"got: {given!r}"
            )
        limits = {
            key: _rate(value, f"{key} of {what}") if key in RATES else value
            for key, value in given.items()
        }
        found[name] = checked(limits, what)
    return found


def _rate(value: object, what: str) -> RateLimit | None:
    """Return a rate, which settings may give as ``[limit, per]`` or ``[limit, per, burst]``."""
    if value is None or isinstance(value, RateLimit):
        return value
    if not isinstance(value, (list, tuple)) or len(value) not in (2, 3):
        raise DeclarationError(
            f"expected {what} to be [limit, per in seconds], [limit, per, burst] or a RateLimit, "
            f"got: {value!r}"
        )
    limit, per, *burst = value
    try:
        return RateLimit(limit, per=per, burst=burst[0] if burst else 1)
    except DeclarationError as error:
        raise DeclarationError(f"{what}: {error}") from None


def declared_queues(
    config: Config, tasks: Iterable[TaskDefinition], *, stored: Collection[str] = ()
) -> dict[str, Limits]:
    """Return the limits of all queues that code and settings of this process declare.

    A limit in settings stands in for that in code. The queues of tasks, and that of the
    deployment, are included if they have limits, or are among the ``stored`` ones: so a limit
    that was taken away goes. Raises :exc:`DeclarationError` for settings that make no sense.
    """
    found = {queue.name: queue.limits for queue in queues}
    for task in tasks:
        name, limits = OF_TASK + task.name, task.queueing.limits
        if task.queueing.queue is not None:
            found.setdefault(task.queueing.queue.name, task.queueing.queue.limits)
        if limits != NO_LIMITS or name in stored:
            found[name] = limits
    if config.concurrency_limit is not None or EVERYTHING in stored:
        found[EVERYTHING] = Limits(concurrency=config.concurrency_limit)
    for name, given in limits_in_settings(config).items():
        found[name] = replace(found.get(name, NO_LIMITS), **given)
    return found
