"""How many statements the code of a task's author sent, per thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class _Count(threading.local):
    def __init__(self) -> None:
        self.statements = 0
        self.paused = 0


count = _Count()
"""Of this thread."""


statements: Callable[[], int] = partial(getattr, count, "statements")
"""Return how many statements this thread sent while counting was not paused."""


class Paused:
    """Leaves out the statements of the block: they are the engine's own."""

    def __enter__(self) -> None:
        count.paused += 1

    def __exit__(self, *_: object) -> None:
        count.paused -= 1


paused = Paused()
"""Without state, and so shared: a step is recorded faster than a generator is set up."""


def install() -> None:
    """Count on every connection of this process, present and future; once is enough."""
    connection_created.connect(_watch, dispatch_uid="trigger_celery.counting")
    for connection in connections.all(initialized_only=True):
        _watch(connection)


def _watch(connection: BaseDatabaseWrapper, **_: object) -> None:
    if _tally not in connection.execute_wrappers:
        # At the front: ``execute_wrapper()`` takes the last one away when its block ends.
        connection.execute_wrappers.insert(0, _tally)


def _tally(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if not count.paused:
        count.statements += 1
    return execute(sql, params, many, context)
