"""How a body is left before its end: what it waits for, and what takes its lines of control out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import NoReturn, TypeVar
from uuid import UUID

from trigger_celery.engine.segment.body_loop import BodyLoop
from trigger_celery.engine.segment.effects import AllParked, Routine, drive_async
from trigger_celery.engine.segment.scopes import Branches, Parked, current_branch, current_task
from trigger_celery.engine.segment.time_limits import limit_around
from trigger_celery.errors import LeaseLost, Suspension, Unwinding, UsageError
from trigger_celery.vocabulary.records import NewWait

T = TypeVar("T")


class Leaving:
    """The waits at which a segment ends; ``reason`` is set once the body has to be left.

    ``keys`` are all at which a line of control is parked, ``waits`` those of them that are
    not stored yet. ``handing_back`` says that the run goes on at once in another worker.
    ``left_main_line`` says that the reason was raised in the main line of the body, not only
    in parallel branches: then a body that returns all the same has swallowed it.
    """

    def __init__(self, run_id: UUID, branches: Branches) -> None:
        self.reason: Unwinding | None = None
        self.handing_back = False
        self.left_main_line = False
        self.waits: list[NewWait] = []
        self.keys: list[str] = []
        self.loop = BodyLoop(branches)
        self._run_id = run_id
        self._branches = branches

    def refuse(self, reason: Unwinding) -> None:
        """Let every durable call from now on raise: the body is out of our hands."""
        self.reason = self.reason or reason

    def raise_if_left(self) -> None:
        """Raise again what the body is being left for: a ``finally:`` must not run a step.

        A branch of an async body is canceled instead: what it is left for is no result.
        """
        try:
            self.raise_again()
        except Unwinding as reason:
            if self.loop.leave():
                raise asyncio.CancelledError(str(reason)) from None
            raise

    def raise_again(self) -> None:
        """Raise what this line of control, or the whole body, is being left for, if it is."""
        reason = self.reason
        if reason is None:
            branch = current_branch.get()
            if branch is None or branch[0] is not self._branches or branch[1].left is None:
                return
            reason = branch[1].left
        self.unwind(reason)

    def unwind(self, reason: Unwinding) -> NoReturn:
        """Raise ``reason``; unless only a branch of a ``def`` body waits, all of it is left."""
        branch = self._branches.thread
        if branch is not None and not isinstance(reason, LeaseLost):
            branch.left = reason  # the others go on as far as they can
        else:
            self._note(reason)
        raise reason

    def _note(self, reason: Unwinding) -> None:
        self.reason = reason
        if self._branches.on_main_line():
            self.left_main_line = True
        self.loop.changed.set()

    def in_body(self, call: Callable[[], T]) -> T:
        """Make a durable call of a ``def`` body; a lease that it finds lost ends all lines."""
        try:
            return call()
        except LeaseLost as lost:
            self._note(lost)
            raise

    def check_time_limits(self, what: str) -> None:
        """Raise :exc:`UsageError` for a new wait that asyncio is to end after some time."""
        task = current_task()
        if task is None or self.loop.draining:
            return
        limit = limit_around(task, self._branches.starters, self.loop.joins)
        if limit:
            raise UsageError(
                f"{what} stands inside {limit}, which cannot end it: the run is suspended "
                "meanwhile, and no event loop runs. Give the wait a timeout=, or race it with "
                "wait_any(wait, sleep(...))"
            )

    def park(self, wait: NewWait | None, key: str) -> Routine[NoReturn]:
        """Leave the body until ``wait`` ends (None: the recorded one under ``key``).

        Parallel branches of an async body first go on as far as they can.
        """
        if self._branches.thread is not None:
            self.leave([(wait, key)])
        if wait is not None:
            self.waits.append(wait)
        self.keys.append(key)
        try:
            yield AllParked(self._all_parked)
        except asyncio.CancelledError:
            if self.reason is None:  # the body itself gave up this branch
                self.keys.remove(key)
                self.waits = [each for each in self.waits if each is not wait]
                raise
        self.raise_again()
        self.unwind(Suspension(f"run {self._run_id} waits at {key!r}"))

    def leave(self, parked: Sequence[Parked]) -> NoReturn:
        """Leave this line of a ``def`` body, the main one or a branch, until one of them ends."""
        branch = self._branches.thread
        if branch is None:
            self.waits += [wait for wait, _ in parked if wait is not None]
            self.keys += [key for _, key in parked]
        else:
            branch.parked += parked
        keys = ", ".join(repr(key) for _, key in parked)
        self.unwind(Suspension(f"run {self._run_id} waits at {keys}"))

    async def track(self, routine: Routine[object]) -> object:
        """Carry out a durable call of an async body, counted as being under way."""
        return await self.under_way(partial(drive_async, routine))

    async def under_way(self, call: Callable[[], Coroutine[object, object, object]]) -> object:
        """Await a durable call of an async body, counted as being under way."""
        try:
            with self.loop.durable_call():
                return await call()
        except Unwinding as reason:
            if isinstance(reason, LeaseLost):
                self._note(reason)
            if not self.loop.leave():
                raise
            await asyncio.sleep(0)  # here the branch gets the cancellation that it asked for
            raise asyncio.CancelledError(str(reason)) from None
        finally:
            self.loop.changed.set()

    async def _all_parked(self) -> None:
        """Wait until every durable call under way is parked too, or the body is left."""
        changed = self.loop.changed
        while self.reason is None:
            changed.set()  # branches that wait here look again: one more is parked
            parked = len(self.keys)
            for _ in range(3):  # a branch that just got its result starts its next call
                await asyncio.sleep(0)
            if len(self.keys) != parked:  # and may give up others before it waits
                continue
            if len(self.loop.calls) <= len(self.keys) and not self.loop.is_over:
                return
            changed.clear()
            await changed.wait()
