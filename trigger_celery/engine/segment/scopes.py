"""Lines of control of one body: the main one, and one for each branch that it starts.

Branches of an ``async def`` body are asyncio tasks, those of a ``def`` body are threads.

Branches are numbered where they are created, not when they first make a durable call: how
long a branch takes until then differs between two replays, the order of creation does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from trigger_celery.body.awaitables import Combined, DurableCall
from trigger_celery.engine.segment.failures import Failed
from trigger_celery.errors import Unwinding
from trigger_celery.vocabulary.records import NewWait

Task: TypeAlias = asyncio.Task[Any]
Parked: TypeAlias = tuple[NewWait | None, str]
"""The key at which a line of control waits, and its wait unless that is recorded already."""


@dataclass(slots=True)
class Scope:
    """One line of control, with the last place it passed and how many branches it started.

    ``floor`` is the position after which its next new call is placed. Of a branch in a thread,
    ``left`` is what it has to be left for, and ``parked`` where it, or its branches, wait.
    ``failed`` are the failures that the code met on its way here and that may still be
    forgotten; ``tasks`` are branches that asyncio carries; ``thread`` is where its code runs.
    """

    path: str
    floor: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    last_key: str = ""
    last_position: int = 0
    started: int = 0
    left: Unwinding | None = None
    parked: list[Parked] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    thread: int = field(default_factory=get_ident)

    def absorb(self, branch: Scope) -> None:
        """Take over what failed in a branch that is over: what follows here is after it."""
        self.failed += [each for each in branch.failed if each not in self.failed]


class Branches:
    """Finds the scope of the calling code; ``is_single`` while there is but the main line.

    ``starters`` says which task of an async body started another.
    """

    def __init__(self) -> None:
        self.is_single = True
        self.main = Scope("")
        self._scopes: WeakKeyDictionary[Task, Scope] = WeakKeyDictionary()
        self.starters: WeakKeyDictionary[Task, Task] = WeakKeyDictionary()
        self._in_step: Callable[[], bool] = bool
        self._is_async = False
        self._pool_thread = self.main.thread

    def begin(self, in_step: Callable[[], bool]) -> None:
        """Make the running asyncio task the main line, and name what it starts from now on.

        Tasks that a step starts are its own affair: ``in_step`` says so.
        """
        self._in_step = in_step
        self._is_async = True
        self.is_single = False
        self.main.thread = get_ident()
        task = current_task()
        if task is not None:
            self._scopes[task] = self.main
        asyncio.get_running_loop().set_task_factory(self._create_task)

    def current(self) -> Scope:
        """Return the scope of the calling code."""
        if not self._is_async:
            return self.thread or self.main
        task = current_task()
        return self.main if task is None else self._scopes.get(task, self.main)

    @property
    def is_pool_thread(self) -> bool:
        """Whether this is the thread of the worker that executes the run."""
        return self._pool_thread == get_ident()

    @property
    def thread(self) -> Scope | None:
        """The scope of the branch of a ``def`` body whose thread this is, if it is one."""
        branch = current_branch.get()
        return branch[1] if branch is not None and branch[0] is self else None

    @contextmanager
    def entered(self, scope: Scope) -> Iterator[None]:
        """Make the calling thread the branch ``scope`` of a ``def`` body."""
        scope.thread = get_ident()
        token = current_branch.set((self, scope))
        try:
            yield
        finally:
            current_branch.reset(token)

    def new(self) -> Scope:
        """Return the scope of the next branch of the calling code."""
        self.is_single = False
        return _next_branch(self.current())

    def absorb(self, scope: Scope) -> None:
        """Let a line of an async body take over from those of its branches that are over.

        One that failed is over once the error was looked at.
        """
        going_on = []
        for task in scope.tasks:
            branch = self._scopes.get(task)
            if not task.done() or (not task.cancelled() and getattr(task, "_log_traceback", False)):
                going_on.append(task)
            elif branch is not None:
                self.absorb(branch)
                scope.absorb(branch)
        scope.tasks = going_on

    def on_main_line(self) -> bool:
        """Whether the calling code is the main line, and not a task beside it."""
        if not self._is_async:
            return self.thread is None
        task = current_task()
        return task is not None and self._scopes.get(task) is self.main

    def with_starters(self, tasks: Iterable[Task]) -> set[Task]:
        """Return these tasks, those that started them, and so on up to the main line."""
        found: set[Task] = set()
        for each in tasks:
            task: Task | None = each
            while task is not None and task not in found:
                found.add(task)
                task = self.starters.get(task)
        return found

    def _create_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Task:
        task: Task = asyncio.Task(coro, loop=loop, **options)
        parent = current_task()
        if parent is not None:
            self.starters[task] = parent
        scope = None if parent is None else self._scopes.get(parent)
        if scope is not None and _is_branch(coro) and not self._in_step():
            self._scopes[task] = _next_branch(scope)
            scope.tasks.append(task)
        return task


current_branch: ContextVar[tuple[Branches, Scope] | None] = ContextVar(
    "trigger_celery_branch", default=None
)
"""The branch whose thread this is, and whose: a step may execute another run in its thread."""


def _next_branch(scope: Scope) -> Scope:
    scope.started += 1
    path = f"{scope.path}branch-{scope.started}/"
    return Scope(path, floor=scope.floor, failed=scope.failed.copy())


def _is_branch(coro: Coroutine[Any, Any, Any]) -> bool:
    # gather() and TaskGroup wrap a durable call in a task, but its key is taken already.
    return not isinstance(coro, DurableCall) or isinstance(coro, Combined)


def current_task() -> Task | None:
    """Return the running asyncio task; None where there is none, and beside the loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # in a thread without a loop
        return None
