"""Branches of an ``async def`` body that ``gather`` and ``wait_any`` start: asyncio tasks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from trigger_celery.body.awaitables import discard
from trigger_celery.engine.segment.scopes import Task
from trigger_celery.engine.segment.segment import Segment

POLL = 0.005


class Crew:
    """Tasks, one for each branch, and the task that waits for them.

    ``decides`` says of the error of a branch, None if it succeeded, whether that wakes the
    waiting task; the end of the last one does so anyway. From then until it goes on, and until
    all branches have begun, that task counts as being in a durable call: else a body whose other
    branches all wait would be left too early.
    """

    def __init__(
        self,
        segment: Segment,
        branches: Sequence[Any],
        decides: Callable[[BaseException | None], bool],
    ) -> None:
        owner = asyncio.current_task()
        assert owner is not None
        self._segment = segment
        self._branches = branches
        self._owner: Task = owner
        self._decides = decides
        self._decided = asyncio.Event()
        self._left = self._to_begin = len(branches)
        if branches:
            segment.leaving.loop.calls.add(owner)
        self.tasks = [asyncio.create_task(self._run(branch)) for branch in branches]
        for task in self.tasks:  # no branch may be left to look at its error
            segment.leaving.loop.joins[task] = owner
            task.add_done_callback(_error)

    async def _run(self, branch: Any) -> object:
        error: BaseException | None = None
        asyncio.get_running_loop().call_soon(self._has_begun)
        try:
            value = branch() if callable(branch) else branch
            return (await value) if inspect.isawaitable(value) else value
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._left -= 1
            if not self._left or self._decides(error):
                self._segment.leaving.loop.calls.add(self._owner)
                self._decided.set()

    def _has_begun(self) -> None:
        """Note that a branch has come to its first durable call, or whatever else it awaits."""
        self._to_begin -= 1
        if not self._to_begin and not self._decided.is_set():
            self.release()

    async def decided(self) -> None:
        """Wait for a branch that decides; the caller has to call :meth:`release` after it."""
        try:
            if self.tasks:
                await self._decided.wait()
        except asyncio.CancelledError:
            await self.cancel()
            self.release()
            raise

    def release(self) -> None:
        """Count the waiting task no longer as being in a durable call."""
        self._segment.leaving.loop.calls.discard(self._owner)
        self._segment.leaving.loop.changed.set()

    async def drain(self) -> None:
        """Let the branches finish what they are doing, then end those that wait."""
        loop = self._segment.leaving.loop
        loop.draining += 1
        try:
            while pending := [task for task in self.tasks if not task.done()]:
                await asyncio.wait(pending, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                if len(loop.calls) - loop.draining <= len(self._segment.leaving.keys):
                    break
        finally:
            loop.draining -= 1
        await self.cancel()

    async def cancel(self) -> None:
        """End the branches that have not ended."""
        pending = [task for task in self.tasks if not task.done()]
        for task in pending:
            if not task.cancelling():  # its cleaning up is not interrupted
                task.cancel()
        if pending:
            await asyncio.wait(pending)
        discard(self._branches)

    def outcomes(self) -> list[tuple[int, object, BaseException | None]]:
        """Return the index and value, or error, of each branch that has ended."""
        return [
            (index, None if error else task.result(), error)
            for index, task in enumerate(self.tasks)
            if task.done()
            for error in [_error(task)]
        ]


async def gather(
    segment: Segment, branches: Sequence[Any], *, return_exceptions: bool
) -> list[object]:
    """Return what the branches returned, in order."""
    crew = Crew(segment, branches, lambda error: error is not None and not return_exceptions)
    await crew.decided()
    try:
        failed = any(error is not None for _, _, error in crew.outcomes())
        if failed and not return_exceptions:
            await crew.drain()
            raise_first(crew)
    finally:
        crew.release()
    return [value if error is None else error for _, value, error in crew.outcomes()]


def raise_first(crew: Crew) -> None:
    """Raise the failure of the first branch that failed; a canceled one only if there is none."""
    errors = [error for _, _, error in crew.outcomes() if error is not None]
    for error in errors:
        if not isinstance(error, asyncio.CancelledError):
            raise error
    for error in errors:
        raise error


def _error(task: Task) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
