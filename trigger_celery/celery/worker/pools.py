"""Which of Celery's pools can execute what: found out before a worker takes a message."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured

from trigger_celery.declare.definition import declared_tasks

EVENTLET = "celery.concurrency.eventlet"
"""The module of the pool under which there are no threads that an event loop could run in."""


class PoolStep(bootsteps.Step):
    """Refuses to start a worker whose pool breaks the tasks that it knows."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        refuse_async_bodies(parent.pool_cls)


def refuse_async_bodies(pool: type[Any]) -> None:
    """Raise ``ImproperlyConfigured`` if there are durable ``async def`` tasks under eventlet."""
    if pool.__module__ != EVENTLET:
        return
    if found := sorted(task.name for task in declared_tasks if task.is_async):
        raise ImproperlyConfigured(
            f"durable tasks {', '.join(found)} are async def: under '-P eventlet' the event loop "
            "of one breaks every other task of its worker. Start this worker with '-P gevent', "
            "'-P threads' or '-P prefork', or make them plain def tasks"
        )
