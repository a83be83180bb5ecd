"""Stores what this process declares: what starts its tasks, and what limits them.

Called by every sweep, so in each process of a worker soon after its start, and after
migrations. Only what this process did not store yet is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid5

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues.declarations import sync_limits
from trigger_celery.engine.schedules.control import build, merged, put
from trigger_celery.engine.waking.subscriptions import synchronize
from trigger_celery.errors import CodecError, UsageError
from trigger_celery.vocabulary.records import Schedule

logger = logging.getLogger("trigger_celery.schedules")

_NAMESPACE = UUID("0f3dd3d0-8f0e-4f43-9a0a-0f1c3e2a7b11")


def sync_declared(engine: Engine) -> int:
    """Store the declared subscriptions, schedules and limits; return how many rows changed."""
    return sum(part(engine) for part in (sync_limits, synchronize, _sync_schedules))


def _sync_schedules(engine: Engine) -> int:
    """Add, change and remove declared schedules.

    One whose task is known here, perhaps by another name now, but does not declare it any more,
    is removed. Those of
    tasks that are unknown here stay: another process declares them. A pause stays too.
    """
    tasks = list(engine.tasks)
    if tasks == engine.scheduled:
        return 0
    known = {each.key: each for each in engine.store.schedules.all()}
    owners = _owners(tasks)
    changed = sum(_declare(engine, task, key, known) for key, task in owners.items())
    names = {name for task in tasks for name in (task.name, *task.aliases)}
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
