"""Stores the limits of durable queues that code and settings declare."""

from __future__ import annotations

import logging
from functools import partial

from trigger_celery.declare.declared_queues import declared_queues
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues.admission import admit_waiting, are_declared
from trigger_celery.errors import DeclarationError
from trigger_celery.vocabulary.records import NO_LIMITS

logger = logging.getLogger("trigger_celery.queues")


def remember_limits(engine: Engine, definition: TaskDefinition) -> None:
    """See to it that limits are stored before this process claims its first run of a task."""
    claimed = engine.stored_queues.claimed
    if definition.name not in claimed:
        if are_declared(engine):
            engine.persist(partial(sync_limits, engine))
        claimed.add(definition.name)


def sync_limits(engine: Engine) -> int:
    """Store the limits of queues that code and settings declare, and take away those of before.

    Runs in line are let in if something changed. Limits of tasks and queues that are unknown here
    stay: another process declares them.
    """
    news, config, tasks = engine.stored_queues, engine.config, list(engine.tasks)
    names = frozenset(task.name for task in tasks)
    try:
        limits = declared_queues(config, tasks)
        if news.is_stored and (news.tasks, news.limits) == (names, limits):
            return 0
        stored = {queue.name: queue.declared for queue in engine.store.queues.all()}
        found = declared_queues(config, tasks, stored=stored)
    except DeclarationError:  # the limits of before hold; a system check says so too
        logger.exception("the limits of durable queues could not be read")
        return 0
    found = {**dict.fromkeys(news.limits.keys() - found.keys(), NO_LIMITS), **found}
    changes = {name: each for name, each in found.items() if stored.get(name) != each}
    changed = engine.store.queues.declare(changes) if changes else 0
    news.tasks, news.limits, news.is_stored = names, limits, True
    if changed:
        admit_waiting(engine)
    return changed
