"""A worker whose pool breaks the tasks that it knows does not start, and says what does."""

from __future__ import annotations

import pytest
from celery.concurrency.thread import TaskPool as Threads
from celery.exceptions import ImproperlyConfigured

from trigger_celery import durable_task
from trigger_celery.celery.worker.pools import EVENTLET, refuse_async_bodies
from trigger_celery.declare.definition import declared_tasks


class Eventlet:
    """Stands for Celery's class, whose module patches the process when it is imported."""


Eventlet.__module__ = EVENTLET


def test_async_bodies_are_refused_under_eventlet() -> None:
    @durable_task(name="async-under-eventlet")
    async def body() -> None: ...

    try:
        with pytest.raises(ImproperlyConfigured, match=r"async-under-eventlet.*-P gevent"):
            refuse_async_bodies(Eventlet)
        refuse_async_bodies(Threads)
    finally:
        declared_tasks.remove("async-under-eventlet")


def test_plain_bodies_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for task in declared_tasks:
        if task.is_async:
            monkeypatch.delitem(declared_tasks._definitions, task.name)
    refuse_async_bodies(Eventlet)
