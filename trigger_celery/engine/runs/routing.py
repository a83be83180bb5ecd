"""Which queue a run goes to, under which concurrency key and priority."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trigger_celery.config import closest
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.declare.queue import Queue, key_for, queues
from trigger_celery.engine.core import Engine
from trigger_celery.errors import QueueNotFound

logger = logging.getLogger("trigger_celery.queues")


def routed(
    engine: Engine,
    definition: TaskDefinition,
    options: TriggerOptions,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any],
) -> TriggerOptions:
    """Return the options of a run with the key and priority that its task or queue gives it.

    ``options`` are those of the trigger over those of the task; they win, then the task,
    then the queue. Without ``args`` the run gets no key but that of its trigger. Raises
    :exc:`QueueNotFound` for a queue that is not declared, and what
    :func:`~trigger_celery.declare.queue.key_for` raises.
    """
    queue = None if options.queue is None else _queue(engine, definition, str(options.queue))
    key, priority = options.concurrency_key, options.priority
    rule = definition.queueing.rule(queue)
    if key is None and rule is not None and args is not None:
        key = key_for(rule, definition.signature, args, kwargs)
    if priority is None and queue is not None:
        priority = queue.priority or None
    if (key, priority) == (options.concurrency_key, options.priority):
        return options
    return replace(options, concurrency_key=key, priority=priority)


def key_of_event(engine: Engine, definition: TaskDefinition, text: str) -> str:
    """Return the concurrency key of a run that an event starts; ``text`` is the run's input.

    A key that cannot be computed is logged: the event must not be lost for it, nor hold up the
    other tasks that it starts.
    """
    rule = definition.queueing.rule(definition.queueing.queue)
    if rule is None:
        return ""
    try:
        pair: Any = engine.codec.decode(text)
        args, kwargs = pair
        return key_for(rule, definition.signature, args, kwargs) or ""
    except Exception:
        logger.exception(
            "task %r is started by an event without its concurrency key", definition.name
        )
        return ""


def _queue(engine: Engine, definition: TaskDefinition, name: str) -> Queue | None:
    """Return what code says of the queue; None if only settings or the store know it."""
    declared = definition.queueing.queue
    if declared is not None and declared.name == name:
        return declared
    found = queues.get(name)
    if found is None:
        engine.discovery.once(engine.discover)  # a module that declares it may not be imported
        found = queues.get(name)
    if found is None and not _is_known(engine, name):
        known = {**dict.fromkeys(each.name for each in queues), **engine.config.queues}
        hint = closest(name, known) if known else "; none is declared"
        end = "" if hint.endswith("?") else "."
        raise QueueNotFound(
            f"no durable queue is called {name!r}{hint}{end} Declare it with Queue({name!r}) in a "
            "module that this process imports, or in TRIGGER_CELERY['QUEUES']. To choose the "
            "broker's queue, use apply_async(queue=...)"
        )
    return found


def _is_known(engine: Engine, name: str) -> bool:
    """Whether settings know the queue, or code of another process stored it."""
    if name in engine.config.queues or name in engine.known_queues:
        return True
    if engine.patient.queues.get(name) is None:
        return False
    engine.known_queues.add(name)
    return True
