"""Durable queues by their names: those that are stored, and those that this process declares."""

from __future__ import annotations

from trigger_celery.config import closest
from trigger_celery.declare.declared_queues import declared_queues
from trigger_celery.engine.core import Engine
from trigger_celery.errors import QueueNotFound
from trigger_celery.vocabulary.records import EVERYTHING, NO_LIMITS, OF_TASK, StoredQueue


def known(engine: Engine, name: str) -> StoredQueue:
    """Return a queue that is stored, or that the first change stores.

    That is one which this process declares, that of a task it knows, and that of everything.
    Modules that may declare it are imported if need be. Raises :exc:`QueueNotFound`.
    """
    if not isinstance(name, str) or not name.isprintable():
        raise QueueNotFound(f"expected the name of a durable queue, got: {name!r}")
    found = engine.patient.queues.get(name) or _declared(engine, name)
    if found is None:
        engine.discovery.once(engine.discover)
        found = _declared(engine, name)
    if found is None:
        declared = declared_queues(engine.config, engine.tasks)
        names = dict.fromkeys([*declared, *(queue.name for queue in engine.patient.queues.all())])
        hint = closest(name, names) if names else "; none is declared"
        raise QueueNotFound(f"no durable queue is called {name!r}{hint}")
    return found


def stored_queue(engine: Engine, name: str) -> StoredQueue:
    """Return a queue, after having stored it if that was still to be done.

    Raises :exc:`QueueNotFound`.
    """
    queue = known(engine, name)
    if engine.patient.queues.get(name) is None:
        engine.patient.queues.declare({name: queue.declared})
    return queue


def _declared(engine: Engine, name: str) -> StoredQueue | None:
    declared = declared_queues(engine.config, engine.tasks)
    task = name.removeprefix(OF_TASK) if name.startswith(OF_TASK) else ""
    if name in declared or name == EVERYTHING or (task and engine.task(task) is not None):
        return StoredQueue(name=name, declared=declared.get(name, NO_LIMITS))
    return None
