"""The event loop of an async body, and how all of the body is left at once.

A body is left because it waits, because the lease is lost, or because the worker's thread was
interrupted. Then the task that runs the body, and every branch that is in a durable call, are
canceled together: a branch never gets a result of its own, so ``gather(return_exceptions=True)``
and ``asyncio.wait`` have nothing to hand to the body.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync, async_to_sync

from trigger_celery.engine.process.system_threads import event_loop_apart
from trigger_celery.engine.segment.scopes import Branches, Task, current_task
from trigger_celery.errors import Unwinding

logger = logging.getLogger("trigger_celery.run")

Start = Callable[[], Coroutine[Any, Any, object]]

PATIENCE = (2.0, 1.0, 1.0)
"""Seconds that a canceled body gets to clean up: one cancellation for each of them."""
FORCED = (0.5, 0.5)
"""Seconds for a loop to end that was stopped under its body: once for that, once for the rest."""
POLL = 0.005


class BodyLoop:
    """Runs an async body in a loop of its own and knows which tasks are in a durable call.

    ``calls`` are the tasks that are, and those that a branch of theirs is about to wake;
    ``draining`` of these only wait for branches before they raise. ``changed`` is set whenever
    there are fewer. ``joins`` says which task waits for another in a ``gather`` of ours.
    ``is_over`` says that the main line has ended, and only branches that it does not wait for
    are left.
    """

    def __init__(self, branches: Branches) -> None:
        self.calls: set[Task] = set()
        self.joins: WeakKeyDictionary[Task, Task] = WeakKeyDictionary()
        self._branches = branches
        self._main: Task | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = False
        self.is_over = False
        self.draining = 0
        self.changed = asyncio.Event()

    def run(self, start: Start) -> object:
        """Run the body; what it leaves behind in the loop ends with it.

        The loop has a thread of its own while the calling thread serves its blocking calls.
        """
        with event_loop_apart():
            return async_to_sync(self._begin, force_new_loop=True)(start)

    async def _begin(self, start: Start) -> object:
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._report)
        try:
            return await start()
        finally:
            self.is_over = True

    @property
    def is_running(self) -> bool:
        """Whether the body may still run, or begin to, after :meth:`run` was left."""
        return self._loop is None or not self._loop.is_closed()

    @contextmanager
    def durable_call(self) -> Iterator[None]:
        """Count the calling task as being in a durable call."""
        task = asyncio.current_task()
        assert task is not None
        self.calls.add(task)
        try:
            yield
        finally:
            self.calls.discard(task)

    def leave(self) -> bool:
        """Cancel the body, the first time; say whether the caller is a branch of it.

        Where the caller is the main line, it is spared: it raises by itself.
        """
        caller = current_task()
        if self._main is None or caller is None:  # a ``def`` body, or in a thread beside the loop
            return False
        if not self._left:
            self._cancel(caller)
        return caller is not self._main

    def abandon(self) -> None:
        """End the body after an exception took this thread out of :meth:`run`.

        The thread goes on serving the loop meanwhile: cleaning up may need it.
        """
        loop = self._loop
        if loop is None:  # it has not begun, and will find that it may not
            return
        executor = AsyncToSync.loop_thread_executors.get(loop)
        with ThreadPoolExecutor(1, "trigger-celery-abandon") as helper:
            ended = helper.submit(self._end, loop)
            if executor is not None:
                executor.run_until_future(ended)
        if not loop.is_closed():
            logger.error(
                "an interrupted async body does not end: something in it blocks its event loop. "
                "It goes on beside this worker's next tasks; its steps are refused"
            )

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        for patience in PATIENCE:
            if _closes(loop, self._cancel, patience):
                return
        for patience in FORCED:
            if _closes(loop, loop.stop, patience):
                return

    def _cancel(self, caller: Task | None = None) -> None:
        self._left = True
        within = self.calls if caller is None else {*self.calls, caller}
        lines = self._branches.with_starters(within)
        if self._main is not None:
            lines.add(self._main)
        if caller is self._main:
            lines.discard(caller)
        for task in lines:
            task.cancel()

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say nothing about branches that ended because the body was left."""
        error = context.get("exception")
        if not (self._left and isinstance(error, asyncio.CancelledError | Unwinding)):
            loop.default_exception_handler(context)


def _closes(loop: asyncio.AbstractEventLoop, verb: Callable[[], None], seconds: float) -> bool:
    """Call the verb in the loop; return whether the loop is closed within these seconds."""
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(verb)
    ends_at = time.monotonic() + seconds
    while not loop.is_closed():
        if time.monotonic() > ends_at:
            return False
        time.sleep(POLL)
    return True
