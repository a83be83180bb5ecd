"""What a body holds of its segment: durable calls become routines and are carried out."""

from __future__ import annotations

import uuid
from types import CoroutineType
from typing import Any, cast

from trigger_celery.authoring.automatic import close_coroutines
from trigger_celery.authoring.awaitables import DurableCall
from trigger_celery.authoring.context import CurrentRun, StepCall, WaitCall
from trigger_celery.engine.effects import Routine, drive
from trigger_celery.engine.perform import perform
from trigger_celery.engine.replay import Slot
from trigger_celery.engine.segment import Segment
from trigger_celery.states import WaitState


class BodySession:
    """The :class:`~trigger_celery.authoring.context.Session` of one segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    @property
    def is_async(self) -> bool:
        """Whether the body is an ``async def``."""
        return self._segment.is_async

    @property
    def in_step(self) -> bool:
        """Whether the calling code is inside a step's body."""
        return self._segment.step_key is not None

    def describe(self) -> CurrentRun:
        """Return the run as its body may see it."""
        run = self._segment.run
        return CurrentRun(
            id=run.id,
            task=run.task,
            attempt=run.attempt,
            crashes=run.crashes,
            fence=run.fence,
            created_at=run.created_at,
            step_key=self._segment.step_key,
        )

    def decode(self, text: str) -> object:
        """Return a stored value."""
        return self._segment.decode(text)

    def heartbeat(self) -> None:
        """Extend the lease now."""
        self._segment.heartbeat()

    def child_id(self, task: str) -> uuid.UUID:
        """Return the id of the next run of ``task`` that this body starts: the same on replay."""
        self._segment.raise_if_unwinding()
        key = self._segment.replay.name_once(f"trigger {task}")
        return uuid.uuid5(self._segment.run.id, key)

    def step(self, call: StepCall) -> Any:
        """Make a call whose outcome is recorded."""
        try:
            slot = self._place(call)
        except BaseException:
            close_coroutines(call.args, call.kwargs)
            raise
        return self._carry_out(perform(self._segment, call, slot), call.name)

    def wait(self, call: WaitCall) -> Any:
        """Wait, or return how the wait ended."""
        slot = self._place(call)
        return self._carry_out(_wait(self._segment, call, slot), call.name)

    def _place(self, call: StepCall | WaitCall) -> Slot:
        self._segment.raise_if_unwinding()
        return self._segment.replay.place(call.name, call.kind, call.key)

    def _carry_out(self, routine: Routine[object], name: str) -> Any:
        if not self._segment.is_async:
            return drive(routine, self._segment.engine.clock.sleep)
        coroutine = cast("CoroutineType[Any, Any, object]", self._segment.track(routine))
        coroutine.__qualname__ = name  # Python's "never awaited" warning shows it
        return DurableCall(coroutine)


def _wait(segment: Segment, call: WaitCall, slot: Slot) -> Routine[object]:
    outcome = slot.outcome
    if outcome is not None and outcome.wait in (WaitState.EVENT, WaitState.TIMEOUT):
        return call.conclude(outcome)
    yield from segment.check(f"wait {slot.key!r}")
    wait = call.build(slot.key, slot.position) if outcome is None else None
    return (yield from segment.park(wait, slot.key))
