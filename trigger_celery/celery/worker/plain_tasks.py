"""Which threads of a process may work for plain Celery tasks, while others execute runs."""

from __future__ import annotations

from typing import Any

from billiard.process import current_process
from celery._state import get_current_task
from celery.app import app_or_default
from celery.worker import state as worker_state

from trigger_celery.celery.canvas import OWN
from trigger_celery.declare.definition import declared_tasks


def beside_plain_tasks() -> bool:
    """Whether the calling thread may work for a plain Celery task or a request of a web server.

    It executes a task, or the pool has threads and one of them does: that task may have started
    this thread. A child of a prefork pool executes one task at a time. Eager calls execute
    runs in whatever process they are made in, as a web server with threads.
    """
    if get_current_task() is not None or app_or_default().conf.task_always_eager:
        return True
    if current_process().name != "MainProcess":
        return False
    requests: Any = worker_state.active_requests
    # The copy is one step: meanwhile another thread may begin or end a task.
    active = [reference() for reference in requests.data.copy()]
    return any(_is_plain(request.name) for request in active if request is not None)


def _is_plain(name: str) -> bool:
    return not name.startswith(OWN) and declared_tasks.get(name) is None
