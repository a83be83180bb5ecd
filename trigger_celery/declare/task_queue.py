"""What a task says of its queue: which one, its own limits, and the concurrency keys of runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trigger_celery.declare.limits import checked
from trigger_celery.declare.queue import KeyRule, Queue, check_key_rule
from trigger_celery.errors import DeclarationError, InvalidOption
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery.vocabulary.records import NO_LIMITS, Limits

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


def key_for(
    rule: KeyRule, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str | None:
    """Return the concurrency key of a run with these arguments, which the signature takes.

    Raises :exc:`InvalidOption` for a key that is no text, whole number, UUID or None, and for
    a parameter that the task does not have; :exc:`InvalidName` for one that is empty, over 200
    characters or not printable; and what the rule raises, if it is a function.
    """
    if callable(rule):
        value: object = rule(*args, **kwargs)
        what = f"the concurrency key that {getattr(rule, '__name__', rule)} returned"
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
