"""One stretch of a run inside one worker: what it may write, and how it ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import partial
from typing import NoReturn, TypeVar

from trigger_celery.body.context import StepCall
from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.segment.body_loop import BodyLoop
from trigger_celery.engine.segment.effects import Quiet, Routine, drive_async
from trigger_celery.engine.segment.heartbeat import renew_now
from trigger_celery.engine.segment.lines import Parked
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import Replay
from trigger_celery.engine.segment.timeouts import await_within, call_within
from trigger_celery.errors import LeaseLost, StoreUnavailable, Suspension, Unwinding
from trigger_celery.ports import Store
from trigger_celery.vocabulary.clock import Anchor
from trigger_celery.vocabulary.records import Checkpoint, Claimed, FailedAttempt, NewWait

T = TypeVar("T")
_step_key: ContextVar[str | None] = ContextVar("trigger_celery_step", default=None)


class Segment:
    """The state of one segment. ``unwinding`` is set once the body has to be left.

    ``left_main_line`` says that this was raised in the main line of the body, not only in
    parallel branches: then a body that returns all the same has swallowed it.
    """

    def __init__(
        self, engine: Engine, claimed: Claimed, held: Holding, replay: Replay, *, is_async: bool
    ) -> None:
        self.engine = engine
        self.run = claimed.run
        self.lease = claimed.lease
        self.replay = replay
        self.loop = BodyLoop(replay.branches)
        self.is_async = is_async
        self.worker = claimed.run.worker
        self.unwinding: Unwinding | None = None
        self.handing_back = False
        self.waits: list[NewWait] = []
        self.keys: list[str] = []
        self.left_main_line = False
        self._held = held
        self._anchor = Anchor(claimed.now, engine.clock.monotonic())

    @property
    def store(self) -> Store:
        """Where this segment writes."""
        return self.engine.store

    @property
    def step_key(self) -> str | None:
        """The key of the step whose body the calling code is in, or None."""
        return _step_key.get()

    def begin_async(self) -> None:
        """Make the running asyncio task the main line of the body."""
        self.replay.branches.begin(in_step=lambda: self.step_key is not None)
        self._raise_again()

    def refuse(self, reason: Unwinding) -> None:
        """Let every durable call from now on raise: the body is out of our hands."""
        self.unwinding = self.unwinding or reason

    def decode(self, text: str) -> object:
        """Return a stored value as the body sees it."""
        return self.engine.codec.decode(text)

    def meter(self) -> Meter:
        """Return a running meter."""
        return Meter(self._anchor, self.engine.clock, self.store)

    def raise_if_unwinding(self) -> None:
        """Raise again what the body is being left for: a ``finally:`` must not run a step.

        A branch of an async body is canceled instead: what it is left for is no result.
        """
        try:
            self._raise_again()
        except Unwinding as reason:
            if self.loop.leave():
                raise asyncio.CancelledError(str(reason)) from None
            raise

    def _raise_again(self) -> None:
        reason = self.unwinding or self.replay.branches.current().left
        if reason is not None:
            self._unwind(reason)

    def check(self, what: str) -> Routine[None]:
        """Check at a boundary that the segment may go on and is clean.

        Raises ``LeaseLost``, ``Suspension`` (the worker is shutting down), ``TransactionOpen``.
        """
        self._raise_again()
        try:
            self.engine.leases.check(self._held)
        except LeaseLost as lost:
            self._unwind(lost)
        if self._held.paused or self.engine.draining():
            self.handing_back = True
            yield from self.park(None, what)
        if not self.is_async:  # Django has no transactions in async code
            self.store.check_boundary(what)

    def run_body(self, call: StepCall, key: str, meter: Meter) -> object:
        """Call user code as the body of the step ``key``."""
        self._raise_again()
        if call.is_async:
            return self._await_body(call, key, meter)
        token = _step_key.set(key)
        try:
            with meter:
                value = self._call(call, key)
        finally:
            _step_key.reset(token)
        if not call.atomic:
            self.store.check_boundary(f"the end of step {key!r}")
        return value

    def _call(self, call: StepCall, key: str) -> object:
        if call.timeout is None:
            return call.fn(*call.args, **call.kwargs)
        body = partial(call.fn, *call.args, **call.kwargs)
        return call_within(call.timeout, body, self._held, key)

    async def _await_body(self, call: StepCall, key: str, meter: Meter) -> object:
        token = _step_key.set(key)
        try:
            with meter:
                value: Coroutine[object, object, object] = call.fn(*call.args, **call.kwargs)  # type: ignore[assignment]
                if call.timeout is not None:
                    return await await_within(call.timeout, value, key)
                return await value
        finally:
            _step_key.reset(token)

    def record(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, or leave the body because the run is not ours any more."""
        self._raise_again()  # an interrupted body may still come here from its own thread
        self.guarded(partial(self.engine.patient.checkpoints.record, self.lease, checkpoint))

    def record_failure(self, failed: FailedAttempt) -> None:
        """Store a failed attempt of a step."""
        self._raise_again()
        self.guarded(partial(self.engine.patient.checkpoints.record_failure, self.lease, failed))

    def stored_value(self, key: str) -> str | None:
        """Return the stored value of a step if its checkpoint is there."""
        run = self.run
        outcomes = self.engine.patient.checkpoints.load(run.id, run_attempt=run.attempt)
        outcome = outcomes.recorded.get(key)
        return None if outcome is None else outcome.value

    def heartbeat(self) -> None:
        """Extend the lease now; a database that is away does not disturb the step."""
        renew_now(self.engine, self._held)

    def guarded(self, verb: Callable[[], T]) -> T:
        """Call a fenced verb of the store; leave the body when it cannot be written.

        A database that stays away longer than we are patient is as good as a lost lease:
        the result is dropped and the run continues elsewhere when its lease expires.
        """
        try:
            return verb()
        except LeaseLost as lost:
            self._unwind(lost)
        except StoreUnavailable as error:
            self._unwind(LeaseLost(f"the database stayed away: {error}"))

    def park(self, wait: NewWait | None, key: str) -> Routine[NoReturn]:
        """Leave the body until ``wait`` ends (None: the recorded one under ``key``).

        Parallel branches of an async body first go on as far as they can.
        """
        if self.replay.branches.thread is not None:
            self.leave([(wait, key)])
        if wait is not None:
            self.waits.append(wait)
        self.keys.append(key)
        try:
            yield Quiet(self._quiet)
        except asyncio.CancelledError:
            if self.unwinding is None:  # the body itself gave up this branch
                self.keys.remove(key)
                self.waits = [each for each in self.waits if each is not wait]
                raise
        self._raise_again()
        self._unwind(Suspension(f"run {self.run.id} waits at {key!r}"))

    def leave(self, parked: Sequence[Parked]) -> NoReturn:
        """Leave this line of a ``def`` body, the main one or a branch, until one of them ends."""
        line = self.replay.branches.thread
        if line is None:
            self.waits += [wait for wait, _ in parked if wait is not None]
            self.keys += [key for _, key in parked]
        else:
            line.parked += parked
        keys = ", ".join(repr(key) for _, key in parked)
        self._unwind(Suspension(f"run {self.run.id} waits at {keys}"))

    def _unwind(self, reason: Unwinding) -> NoReturn:
        line = self.replay.branches.thread
        if line is not None and not isinstance(reason, LeaseLost):
            line.left = reason  # the others go on as far as they can
            raise reason
        self.unwinding = reason
        if self.replay.branches.on_main_line():
            self.left_main_line = True
        self.loop.changed.set()
        raise reason

    async def track(self, routine: Routine[object]) -> object:
        """Carry out a durable call of an async body, counted as being under way."""
        try:
            with self.loop.durable_call():
                return await drive_async(routine)
        except Unwinding as reason:
            if not self.loop.leave():
                raise
            await asyncio.sleep(0)  # here the branch gets the cancellation that it asked for
            raise asyncio.CancelledError(str(reason)) from None
        finally:
            self.loop.changed.set()

    async def _quiet(self) -> None:
        """Wait until every durable call under way is parked too, or the body is left."""
        changed = self.loop.changed
        while self.unwinding is None:
            changed.set()  # whoever waits here looks again: one more is parked
            parked = len(self.keys)
            for _ in range(3):  # a branch that just got its result starts its next call
                await asyncio.sleep(0)
            if len(self.keys) != parked:  # and may give up others before it waits
                continue
            if len(self.loop.calls) <= len(self.keys) and not self.loop.is_over:
                return
            changed.clear()
            await changed.wait()
