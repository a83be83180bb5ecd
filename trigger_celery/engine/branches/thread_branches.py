"""Branches of a ``def`` body: functions that run beside each other, each in a thread.

A branch ends, fails, or parks: then it waits, and its thread is free. The line that started
them goes on when all have come as far as they can; if one of them waits, so does this line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from threading import Thread
from typing import Any

from trigger_celery.engine.segment.lines import Scope
from trigger_celery.engine.segment.segment import Segment, swallowed
from trigger_celery.errors import Unwinding


@dataclass(slots=True)
class Line:
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
    segment: Segment, branches: Sequence[Callable[[], object]], *, max_parallel: int
) -> list[Line]:
    """Carry branches as far as they can go, so many at a time; return what became of each.

    Raises what ends the whole segment: a lost lease, or what interrupts this thread.
    """
    segment.leaving.raise_if_left()
    lines = [Line(segment.replay.branches.new(), fn) for fn in branches]
    todo = deque((line, copy_context()) for line in lines)
    try:
        if segment.store.seen_by_threads():
            _in_threads(segment, lines, todo, min(max_parallel, len(lines)))
        else:  # a test in a transaction of its own: only its connection sees the run
            _work(segment, lines, todo)
    except BaseException as interrupt:  # a soft time limit: it does not wait for them
        _stop(lines, interrupt)
        raise
    segment.leaving.raise_if_left()
    here = segment.replay.branches.current()
    for line in lines:
        here.absorb(line.scope)
        if line.error is not None and not isinstance(line.error, Exception):
            raise line.error
    return lines


def gather(
    segment: Segment,
    branches: Sequence[Callable[[], object]],
    *,
    return_exceptions: bool,
    max_parallel: int,
) -> list[object]:
    """Return what the branches returned, in order, or park until those that wait may go on."""
    lines = run_branches(segment, branches, max_parallel=max_parallel)
    if not return_exceptions:
        raise_first(lines)
    if any(line.scope.left for line in lines):
        segment.leaving.leave([parked for line in lines for parked in line.scope.parked])
    here = segment.replay.branches.current()
    here.floor = max([here.floor, *(line.scope.floor for line in lines)])
    return [line.value if line.error is None else line.error for line in lines]


def raise_first(lines: Sequence[Line]) -> None:
    """Raise the failure of the first branch that failed, if one did."""
    for line in lines:
        if line.error is not None:
            raise line.error


def _in_threads(
    segment: Segment, lines: list[Line], todo: deque[tuple[Line, Context]], count: int
) -> None:
    def work() -> None:
        try:
            _work(segment, lines, todo)
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


def _work(segment: Segment, lines: list[Line], todo: deque[tuple[Line, Context]]) -> None:
    while todo:
        try:
            line, context = todo.popleft()
        except IndexError:  # another thread was faster
            return
        context.run(_run, segment, line)
        if line.error is not None and not isinstance(line.error, Exception):
            _stop(lines, line.error)


def _run(segment: Segment, line: Line) -> None:
    with segment.replay.branches.entered(line.scope):
        try:
            segment.leaving.raise_if_left()  # the segment may be over before its turn comes
            line.value = line.fn()
        except Unwinding as reason:
            line.scope.left = line.scope.left or reason
        except BaseException as error:
            line.error = error
        else:
            if line.scope.left is not None:
                keys = [key for _, key in line.scope.parked]
                line.error = swallowed(segment, keys)


def _stop(lines: Sequence[Line], reason: BaseException) -> None:
    """Let each durable call that the branches still make raise; a thread cannot be ended."""
    left = Unwinding(f"its body was interrupted by {reason!r}")
    for line in lines:
        line.scope.left = line.scope.left or left
