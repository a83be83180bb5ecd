"""Time limits of asyncio around a durable wait: they could never end it, so they are refused.

A suspended run has no event loop, and when it resumes the limit begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from trigger_celery.engine.segment.scopes import Task


def limit_around(task: Task, starters: Mapping[Task, Task], joins: Mapping[Task, Task]) -> str:
    """Return the name of a time limit that ``task``, or what awaits it, is inside; "" for none.

    ``starters`` says which task started another, ``joins`` which one awaits it in a ``gather``
    of ours. Loops that do not show their timers, as uvloop's, show no limit.
    """
    timers: list[Any] = [
        timer
        for timer in getattr(task.get_loop(), "_scheduled", ())
        if not timer.cancelled() and getattr(timer, "_callback", None) is not None
    ]
    for line in _awaiting(task, starters, joins):
        for timer in timers:
            owner = getattr(timer._callback, "__self__", None)
            if isinstance(owner, asyncio.Timeout) and getattr(owner, "_task", None) is line:
                return "asyncio.timeout() or asyncio.wait_for()"
            waiter = getattr(line, "_fut_waiter", None)
            if waiter is not None and any(each is waiter for each in timer._args or ()):
                return "asyncio.wait_for() or asyncio.wait(timeout=)"
    return ""


def _awaiting(
    task: Task, starters: Mapping[Task, Task], joins: Mapping[Task, Task]
) -> Iterator[Task]:
    """Yield the task, the one that waits for it now, and so on."""
    line: Task | None = task
    while line is not None:
        yield line
        parent = joins.get(line)
        if parent is None:
            starter = starters.get(line)
            parent = starter if starter is not None and _waits_for(starter, line) else None
        line = parent


def _waits_for(starter: Task, task: Task) -> bool:
    """Whether the end of the task, through whatever combines it with others, wakes the starter."""
    awaited = getattr(starter, "_fut_waiter", None)
    reached: list[Any] = [task]
    for future in reached:
        if future is awaited:
            return True
        for callback, _ in getattr(future, "_callbacks", None) or ():
            reached += [each for each in _futures(callback) if each not in reached]
    return False


def _futures(callback: Any) -> Iterator[asyncio.Future[Any]]:
    """Yield what a callback of ``gather``, ``wait``, ``wait_for`` or a group completes."""
    group = getattr(callback, "__self__", None)
    held = (
        [getattr(group, "_on_completed_fut", None)] if isinstance(group, asyncio.TaskGroup) else []
    )
    held += getattr(callback, "args", ())
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # it is not filled yet
            continue
    yield from (each for each in held if isinstance(each, asyncio.Future))
