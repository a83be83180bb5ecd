"""``Queue``: a durable queue as code declares it, and what a task says of its own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypeAlias
from uuid import UUID

from trigger_celery.declare.limits import ARGUMENTS, RateLimit, checked, whole
from trigger_celery.errors import DeclarationError, DuplicateQueue, InvalidOption
from trigger_celery.vocabulary.checks import valid_name, valid_queue_name
from trigger_celery.vocabulary.records import NO_LIMITS, Limits

logger = logging.getLogger("trigger_celery.queues")

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
                f"queue {queue.name!r} is declared twice, as {_described(known)} and as "
                f"{_described(queue)}: make it once and import it where it is used"
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


def _described(queue: Queue) -> str:
    defaults = {item.name: item.default for item in fields(queue)}
    said = {name: value for name, value in _comparable(queue).items() if value != defaults[name]}
    said.pop("name")
    return f"Queue({', '.join([repr(queue.name), *(f'{k}={v!r}' for k, v in said.items())])})"


QUEUEING = frozenset({"queue", "concurrency_limit", "rate_limit", "concurrency_key"})
"""The options of ``durable_task`` that are read here."""
_NO_VALUE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queueing:
    """The queue of a task's runs, the limits of the task itself, and where keys come from."""

    queue: Queue | None = None
    limits: Limits = NO_LIMITS
    concurrency_key: KeyRule | None = None

    def rule(self, queue: Queue | None) -> KeyRule | None:
        """Return where the key of a run in this queue comes from: the task wins."""
        if self.concurrency_key is not None or queue is None:
            return self.concurrency_key
        return queue.concurrency_key


NO_QUEUEING = Queueing()


def queueing(task: str, signature: inspect.Signature, options: Mapping[str, object]) -> Queueing:
    """Check the options in :data:`QUEUEING` of a task. Raises :exc:`DeclarationError`."""
    queue, rule = options.get("queue"), options.get("concurrency_key")
    if not isinstance(queue, Queue | None):
        raise DeclarationError(f"expected queue of task {task!r} to be a Queue, got: {queue!r}")
    given = {name: options[name] for name in ("concurrency_limit", "rate_limit") if name in options}
    if rule is not None:
        _check_rule(rule, signature, f"concurrency_key of task {task!r}")
    elif queue is not None and queue.concurrency_key is not None:
        what = f"concurrency_key of queue {queue.name!r}, used by task {task!r}"
        _check_rule(queue.concurrency_key, signature, what)
    return Queueing(
        queue=queue,
        limits=Limits(**checked(given, f"task {task!r}")),
        concurrency_key=rule,  # type: ignore[arg-type]  # _check_rule saw to it
    )


_OF_ARGUMENTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a function raises that is given values which it did not expect."""


def key_for(
    rule: KeyRule, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str | None:
    """Return the concurrency key of a run with these arguments, which the signature takes.

    Raises :exc:`InvalidOption` for a key that is no text, whole number, UUID or None, and for
    a parameter that the task does not have; :exc:`InvalidName` for one that is empty, over 200
    characters or not printable. What a rule that is a function raises of its arguments becomes
    :exc:`InvalidOption`; a failure of another kind, as of a database, is raised as it is.
    """
    if callable(rule):
        name = getattr(rule, "__name__", rule)
        try:
            value: object = rule(*args, **kwargs)
        except _OF_ARGUMENTS as error:
            logger.warning("the concurrency key: %s failed", name, exc_info=True)
            raise InvalidOption(
                f"the function {name} finds no concurrency key in these arguments: "
                f"{type(error).__name__}"
            ) from error
        what = f"the concurrency key that {name} returned"
    else:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if rule not in bound.arguments:
            raise InvalidOption(
                f"the concurrency key comes from the parameter {rule!r}, which the task does not "
                "have: give the call a concurrency_key"
            )
        value = bound.arguments[rule]
        what = f"the concurrency key in {rule}"
    if value is None:
        return None
    return valid_name(_text(value, what), what)


def _text(value: object, what: str) -> str:
    # A subclass may show itself in another way: members of enums do.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    if isinstance(value, UUID):
        return str(value)
    raise InvalidOption(
        f"expected {what} to be text, a whole number, a UUID or None, got: {value!r}"
    )


def _check_rule(rule: object, signature: inspect.Signature, what: str) -> None:
    check_key_rule(rule, what)
    if not isinstance(rule, str):
        return
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind not in _NO_VALUE
    }
    if rule not in named:
        known = ", ".join(named) or "it has none"
        raise DeclarationError(
            f"expected {what} to be one of its parameters ({known}), or a function of its "
            f"arguments, got: {rule!r}"
        )
