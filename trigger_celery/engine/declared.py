"""Tells the store what this process declares: what starts its tasks, and what limits them.

Called by every sweep, so in each process of a worker soon after its start, and after
migrations. Only what this process did not tell yet is told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID, uuid5

from trigger_celery.authoring.definition import TaskDefinition
from trigger_celery.authoring.queue_settings import declared_queues
from trigger_celery.engine import queues
from trigger_celery.engine.app import Engine
from trigger_celery.engine.schedules import build, merged, put
from trigger_celery.engine.subscribing import synchronize
from trigger_celery.errors import CodecError, DeclarationError, UsageError
from trigger_celery.records import NO_LIMITS, Schedule

logger = logging.getLogger("trigger_celery.schedules")

_NAMESPACE = UUID("0f3dd3d0-8f0e-4f43-9a0a-0f1c3e2a7b11")


def sync_declared(engine: Engine) -> int:
    """Store the declared subscriptions, schedules and limits; return how many rows changed."""
    return sum(part(engine) for part in (_sync_limits, synchronize, _sync_schedules))


def remember_limits(engine: Engine, definition: TaskDefinition) -> None:
    """See to it that limits are stored before this process claims its first run of a task."""
    claimed = engine.queue_news.claimed
    if definition.name not in claimed:
        if queues.are_declared(engine):
            engine.persist(partial(_sync_limits, engine))
        claimed.add(definition.name)


def _sync_limits(engine: Engine) -> int:
    """Store the limits of queues that code and settings declare, and take away those of before.

    Who waits is let in if something changed. Limits of tasks and queues that are unknown here
    stay: another process declares them.
    """
    news, config, tasks = engine.queue_news, engine.config, list(engine.tasks)
    names = frozenset(task.name for task in tasks)
    try:
        limits = declared_queues(config, tasks)
        if news.is_told and (news.tasks, news.limits) == (names, limits):
            return 0
        stored = {queue.name: queue.declared for queue in engine.store.queues.all()}
        found = declared_queues(config, tasks, stored=stored)
    except DeclarationError:  # the limits of before hold; a system check tells too
        logger.exception("the limits of durable queues could not be read")
        return 0
    found = {**dict.fromkeys(news.limits.keys() - found.keys(), NO_LIMITS), **found}
    changes = {name: each for name, each in found.items() if stored.get(name) != each}
    changed = engine.store.queues.declare(changes) if changes else 0
    news.tasks, news.limits, news.is_told = names, limits, True
    if changed:
        queues.admit_waiting(engine)
    return changed


def _sync_schedules(engine: Engine) -> int:
    """Add, change and remove declared schedules.

    One whose task is known here, but does not declare it any more, is removed. Those of
    tasks that are unknown here stay: another process declares them. A pause stays too.
    """
    tasks = list(engine.tasks)
    if tasks == engine.scheduled:
        return 0
    known = {each.key: each for each in engine.store.schedules.all()}
    owners = _owners(tasks)
    changed = sum(_declare(engine, task, key, known) for key, task in owners.items())
    names = {task.name for task in tasks}
    for key, each in known.items():
        if each.declared and each.task in names and key not in owners:
            changed += engine.store.schedules.remove(key)
    engine.scheduled[:] = tasks
    return changed


def _owners(tasks: Sequence[TaskDefinition]) -> dict[str, TaskDefinition]:
    """Return by key the task that declares a schedule."""
    owners: dict[str, TaskDefinition] = {}
    for task in tasks:
        for key in task.schedules:
            owner = owners.setdefault(key, task)
            if owner is not task:
                logger.error(
                    "two tasks declare a schedule with the key %r: that of %r counts, that of %r "
                    "is never fired until it gets another key=",
                    key,
                    owner.name,
                    task.name,
                )
    return owners


def _declare(engine: Engine, task: TaskDefinition, key: str, known: Mapping[str, Schedule]) -> bool:
    try:
        id = uuid5(_NAMESPACE, key)
        wanted = build(engine, task, key, task.schedules[key], id=id, declared=True)
        found = known.get(key)
        if found is not None and found.declared and merged(found, wanted) == found:
            return False
        put(engine, wanted)
    except (UsageError, CodecError):  # one bad declaration must not hold up the others
        logger.exception("schedule %r of task %r could not be stored", key, task.name)
        return False
    return True
