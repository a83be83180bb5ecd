"""Branches of a ``def`` body: functions that run beside each other, each in a thread.

A branch ends, fails, or parks: then it waits, and its thread is free. The code that started
them goes on when all have come as far as they can; if one of them waits, so does that code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from threading import Thread
from typing import Any

from trigger_celery.engine.segment.scopes import Scope
from trigger_celery.engine.segment.segment import Segment, swallowed
from trigger_celery.errors import Unwinding


@dataclass(slots=True)
class Branch:
    """One branch and what became of it: ``scope.left`` is set if it has to be run again."""

    scope: Scope
    fn: Callable[[], object]
    value: Any = None
    error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has returned a value that counts."""
        return self.error is None and self.scope.left is None


def run_branches(
    segment: Segment, functions: Sequence[Callable[[], object]], *, max_parallel: int
) -> list[Branch]:
    """Carry each function, a branch, as far as it can go, so many at a time; return the branches.

    Raises what ends the whole segment: a lost lease, or what interrupts this thread.
    """
    segment.leaving.raise_if_left()
    branches = [Branch(segment.replay.branches.new(), fn) for fn in functions]
    todo = deque((branch, copy_context()) for branch in branches)
    try:
        if segment.store.seen_by_threads():
            _in_threads(segment, branches, todo, min(max_parallel, len(branches)))
        else:  # a test in a transaction of its own: only its connection sees the run
            _work(segment, branches, todo)
    except BaseException as interrupt:  # a soft time limit: it does not wait for them
        _stop(branches, interrupt)
        raise
    segment.leaving.raise_if_left()
    here = segment.replay.branches.current()
    for branch in branches:
        here.absorb(branch.scope)
        if branch.error is not None and not isinstance(branch.error, Exception):
            raise branch.error
    return branches


def gather(
    segment: Segment,
    functions: Sequence[Callable[[], object]],
    *,
    return_exceptions: bool,
    max_parallel: int,
) -> list[object]:
    """Return what the functions returned, in order, or park until those that wait may go on."""
    branches = run_branches(segment, functions, max_parallel=max_parallel)
    if not return_exceptions:
        raise_first(branches)
    if any(branch.scope.left for branch in branches):
        segment.leaving.leave([parked for branch in branches for parked in branch.scope.parked])
    here = segment.replay.branches.current()
    here.floor = max([here.floor, *(branch.scope.floor for branch in branches)])
    return [branch.value if branch.error is None else branch.error for branch in branches]


def raise_first(branches: Sequence[Branch]) -> None:
    """Raise the failure of the first branch that failed, if one did."""
    for branch in branches:
        if branch.error is not None:
            raise branch.error


def _in_threads(
    segment: Segment, branches: list[Branch], todo: deque[tuple[Branch, Context]], count: int
) -> None:
    def work() -> None:
        try:
            _work(segment, branches, todo)
        finally:
            segment.store.release()

    threads = [
        Thread(target=work, name=f"trigger-celery-branch-{number}", daemon=True)
        for number in range(1, count + 1)
    ]
    segment.store.let_go()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _work(segment: Segment, branches: list[Branch], todo: deque[tuple[Branch, Context]]) -> None:
    while todo:
        try:
            branch, context = todo.popleft()
        except IndexError:  # another thread was faster
            return
        context.run(_run, segment, branch)
        if branch.error is not None and not isinstance(branch.error, Exception):
            _stop(branches, branch.error)


def _run(segment: Segment, branch: Branch) -> None:
    with segment.replay.branches.entered(branch.scope):
        try:
            segment.leaving.raise_if_left()  # the segment may be over before its turn comes
            branch.value = branch.fn()
        except Unwinding as reason:
            branch.scope.left = branch.scope.left or reason
        except BaseException as error:
            branch.error = error
        else:
            if branch.scope.left is not None:
                keys = [key for _, key in branch.scope.parked]
                branch.error = swallowed(segment, keys)


def _stop(branches: Sequence[Branch], reason: BaseException) -> None:
    """Let each durable call that the branches still make raise; a thread cannot be ended."""
    left = Unwinding(f"its body was interrupted by {reason!r}")
    for branch in branches:
        branch.scope.left = branch.scope.left or left
