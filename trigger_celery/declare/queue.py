"""``Queue``: a durable queue as code declares it, and all that this process knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypeAlias
from uuid import UUID

from trigger_celery.declare.limits import ARGUMENTS, RateLimit, checked, whole
from trigger_celery.errors import DeclarationError, DuplicateQueue
from trigger_celery.vocabulary.checks import valid_queue_name
from trigger_celery.vocabulary.records import Limits

PRIORITY_LIMIT = 2**31 - 1
KeyRule: TypeAlias = "str | Callable[..., str | int | UUID | None]"
"""Where a concurrency key comes from: the name of a parameter, or what the arguments give."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue: how many of its runs execute at a time, and how often they start.

    =====================  ======================================================================
    ``concurrency_limit``  how many of its runs may execute at a time; 0 starts none
    ``key_limit``          how many of each concurrency key
    ``rate_limit``         a :class:`RateLimit` on the starts of its runs
    ``key_rate_limit``     one for each concurrency key by itself
    ``concurrency_key``    the parameter of a task whose value is a run's key, or a function
                           of the task's arguments; text, a whole number, a UUID or None
    ``priority``           that of its runs, if neither trigger nor task says one
    =====================  ======================================================================

    It is known to the process once it is made. The same declaration may be made again.

    Raises :exc:`DeclarationError`, :exc:`InvalidName`, and :exc:`DuplicateQueue` for another
    declaration of the name.
    """

    name: str
    _: KW_ONLY
    concurrency_limit: int | None = None
    key_limit: int | None = None
    rate_limit: RateLimit | None = None
    key_rate_limit: RateLimit | None = None
    concurrency_key: KeyRule | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        valid_queue_name(self.name, "a queue's name")
        checked(self._given(), f"queue {self.name!r}")
        check_key_rule(self.concurrency_key, f"concurrency_key of queue {self.name!r}")
        what = f"priority of queue {self.name!r}"
        whole(self.priority, what, least=-PRIORITY_LIMIT, most=PRIORITY_LIMIT)
        queues.add(self)

    @property
    def limits(self) -> Limits:
        """What the engine holds its runs to."""
        return Limits(**checked(self._given(), f"queue {self.name!r}"))

    def _given(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ARGUMENTS}


def check_key_rule(rule: object, what: str) -> None:
    """Raise :exc:`DeclarationError` unless a concurrency key may come from there."""
    if inspect.iscoroutinefunction(rule):
        raise DeclarationError(f"expected {what} to be a plain def, got: {rule!r}")
    if rule is None or callable(rule) or (isinstance(rule, str) and rule.isidentifier()):
        return
    raise DeclarationError(
        f"expected {what} to be the name of a parameter, or a function of the task's arguments, "
        f"got: {rule!r}"
    )


class QueueRegistry:
    """The durable queues that code of this process declares, by name."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def add(self, queue: Queue) -> None:
        """Register a queue; the same declaration again, as a reload makes it, replaces it.

        Raises :exc:`DuplicateQueue` for a declaration that says something else.
        """
        known = self._queues.get(queue.name)
        if known is not None and _comparable(known) != _comparable(queue):
            raise DuplicateQueue(
                f"queue {queue.name!r} is declared twice, as {_shown(known)} and as "
                f"{_shown(queue)}: make it once and import it where it is used"
            )
        self._queues[queue.name] = queue

    def get(self, name: str) -> Queue | None:
        """Return the queue, or None."""
        return self._queues.get(name)

    def remove(self, name: str) -> None:
        """Forget a queue (a test declared it for itself)."""
        self._queues.pop(name, None)

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))


queues = QueueRegistry()


def _comparable(queue: Queue) -> dict[str, Any]:
    """Return what the declaration says; a function is what its place says, as in a reload."""
    said = {item.name: getattr(queue, item.name) for item in fields(queue)}
    rule = queue.concurrency_key
    if callable(rule):
        said["concurrency_key"] = f"{rule.__module__}.{getattr(rule, '__qualname__', rule)}"
    return said


def _shown(queue: Queue) -> str:
    defaults = {item.name: item.default for item in fields(queue)}
    said = {name: value for name, value in _comparable(queue).items() if value != defaults[name]}
    said.pop("name")
    return f"Queue({', '.join([repr(queue.name), *(f'{k}={v!r}' for k, v in said.items())])})"
