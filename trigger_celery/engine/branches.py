"""Lines of control of one body: the main one, and one for each asyncio task it starts.

Branches are numbered where they are created, not when they first make a durable call: how
long a branch takes until then differs between two replays, the order of creation does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from trigger_celery.authoring.awaitables import DurableCall

Task: TypeAlias = asyncio.Task[Any]


@dataclass(slots=True)
class Scope:
    """One line of control, with the last place it passed and how many branches it started.

    ``floor`` is the position after which its next new call is placed.
    """

    path: str
    floor: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    last_key: str = ""
    last_position: int = 0
    started: int = 0

    def passed(self, key: str, position: int) -> None:
        """Note that the body passed this place."""
        self.last_key = key
        self.last_position = self.floor = position


class Branches:
    """Finds the scope of the calling code. All of a ``def`` body is the main line."""

    def __init__(self) -> None:
        self.main = Scope("")
        self._scopes: WeakKeyDictionary[Task, Scope] = WeakKeyDictionary()
        self._in_step: Callable[[], bool] = bool
        self._is_async = False

    def begin(self, in_step: Callable[[], bool]) -> None:
        """Make the running asyncio task the main line, and name what it starts from now on.

        Tasks that a step starts are its own affair: ``in_step`` tells.
        """
        self._in_step = in_step
        self._is_async = True
        task = _current_task()
        if task is not None:
            self._scopes[task] = self.main
        asyncio.get_running_loop().set_task_factory(self._create_task)

    def current(self) -> Scope:
        """Return the scope of the calling code."""
        if not self._is_async:
            return self.main
        task = _current_task()
        return self.main if task is None else self._scopes.get(task, self.main)

    def on_main_line(self) -> bool:
        """Whether the calling code is the main line, and not a task beside it."""
        if not self._is_async:
            return True
        task = _current_task()
        return task is not None and self._scopes.get(task) is self.main

    def _create_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Task:
        task: Task = asyncio.Task(coro, loop=loop, **options)
        parent = _current_task()
        scope = None if parent is None else self._scopes.get(parent)
        if scope is not None and _is_branch(coro) and not self._in_step():
            scope.started += 1
            path = f"{scope.path}branch-{scope.started}/"
            self._scopes[task] = Scope(path, floor=scope.floor)
        return task


def _is_branch(coro: Coroutine[Any, Any, Any]) -> bool:
    # gather() and TaskGroup wrap a durable call in a task, but its key is taken already.
    return not isinstance(coro, DurableCall)


def _current_task() -> Task | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # in a thread without a loop
        return None
