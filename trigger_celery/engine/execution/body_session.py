"""What a body holds of its segment: durable calls become routines and are carried out."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from types import CoroutineType
from typing import Any, cast

from trigger_celery.body.awaitables import Combined, DurableCall
from trigger_celery.body.context import CurrentRun, FanOut, StepCall, WaitCall, step_key
from trigger_celery.body.steps import source_line
from trigger_celery.declare.durable_names import names_durable_call
from trigger_celery.engine.branches import async_branches, race, thread_branches
from trigger_celery.engine.execution import changes
from trigger_celery.engine.execution.changes import Watch
from trigger_celery.engine.execution.fan_out import fan_out
from trigger_celery.engine.execution.run_view import describe_run
from trigger_celery.engine.execution.step import perform
from trigger_celery.engine.segment.effects import Io, Routine, drive
from trigger_celery.engine.segment.replay import CallSite
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.ports import Codec
from trigger_celery.vocabulary.records import StepKind
from trigger_celery.vocabulary.states import WaitState

ENDED = (WaitState.EVENT, WaitState.COMPLETED, WaitState.TIMEOUT)
"""What became of a wait that the body goes on from; a canceled one can be awaited again."""


class BodySession:
    """The :class:`~trigger_celery.body.context.Session` of one segment."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.step = partial(perform, segment)

    @property
    def is_async(self) -> bool:
        """Whether the body is an ``async def``."""
        return self._segment.is_async

    @property
    def in_step(self) -> bool:
        """Whether the calling code is inside a step's body."""
        return step_key.get() is not None

    @property
    def codec(self) -> Codec:
        """The codec of the engine."""
        return self._segment.engine.codec

    def describe(self) -> CurrentRun:
        """Return the run as its body may see it."""
        return replace(self._described, step_key=step_key.get())

    @cached_property
    def _described(self) -> CurrentRun:
        return describe_run(self._segment.engine, self._segment.run)

    def decode(self, text: str) -> object:
        """Return a stored value."""
        return self._segment.decode(text)

    def heartbeat(self) -> None:
        """Extend the lease now."""
        self._segment.heartbeat()

    def now(self) -> datetime:
        """Return the database's time."""
        return self._segment.now()

    def child_id(self, task: str) -> uuid.UUID:
        """Return the id of the next run of ``task`` that this body starts: the same on replay."""
        self._segment.leaving.raise_if_left()
        key = self._segment.replay.name_once(f"trigger {task}")
        self._segment.keep(self._segment.replay.branches.current().failed)
        return uuid.uuid5(self._segment.run.id, key)

    def is_shared_process(self) -> bool:
        """Whether the calling thread may work for something that is no run."""
        return self._segment.engine.beside_plain_tasks()

    def misused(self, error: Exception) -> None:
        """Let the run fail by an error that its body may never see, as in a thread of its own."""
        self._segment.replay.misuse = error

    def wait(self, call: WaitCall) -> Any:
        """Wait, or return how the wait ended."""
        site = self._place(call)
        return self._carry_out(_wait(self._segment, call, site), call.name)

    def fan_out(self, call: FanOut) -> Any:
        """Start runs and wait for them, or return how they ended."""
        site = self._place(call)
        return self._carry_out(fan_out(self._segment, call, site), call.name)

    def gather(self, branches: Sequence[Any], *, return_exceptions: bool, max_parallel: int) -> Any:
        """Carry on branches and return what they returned."""
        self._begin("gather()")
        if self._segment.is_async:
            branches = [self._branch(each) for each in branches]
            coroutine = async_branches.gather(
                self._segment, branches, return_exceptions=return_exceptions
            )
            return Combined(coroutine, branches)
        return thread_branches.gather(
            self._segment,
            branches,
            return_exceptions=return_exceptions,
            max_parallel=max_parallel,
        )

    def wait_any(
        self, branches: Sequence[Any], *, key: str | None, max_parallel: int, source: str
    ) -> Any:
        """Carry on branches and return which was over first, with its value."""
        self._begin("wait_any()")
        started = race.begin(self._segment, key, source)
        watch = None
        if started.site.outcome is None:
            watch = changes.of_branches(self._segment, branches)
        if self._segment.is_async:
            branches = [self._branch(each) for each in branches]
            return Combined(self._raced(race.run_tasks(started, branches), watch), branches)
        won = race.run_threads(started, branches, max_parallel=max_parallel)
        self._warn_of(watch)
        return won

    async def _raced(self, running: Coroutine[Any, Any, Any], watch: Watch | None) -> Any:
        won = await running
        self._warn_of(watch)
        return won

    def _warn_of(self, watch: Watch | None) -> None:
        if watch is not None:
            changes.warn_of_branches(watch, self._segment)

    def _branch(self, branch: Any) -> Any:
        """Return a branch of an async body; of a plain coroutine one step, as an ``await`` is one.

        One that names durable calls is a branch with steps of its own.
        """
        if not self._segment.is_rewritten:
            return branch
        if not inspect.isawaitable(branch):
            return partial(self._of_function, branch)
        if not isinstance(branch, CoroutineType) or names_durable_call(branch):
            return branch
        return Combined(self._as_step(branch), [branch])

    def _of_function(self, branch: Callable[[], Any]) -> Any:
        value = branch()
        return self._branch(value) if inspect.isawaitable(value) else value

    async def _as_step(self, branch: CoroutineType[Any, Any, Any]) -> Any:
        name = branch.__name__
        source = source_line(branch.cr_frame)
        return await self.step(
            StepCall(
                name=name,
                kind=StepKind.STEP,
                fn=_awaited,
                args=(branch,),
                kwargs={},
                is_async=True,
                source=source,
            )
        )

    def _begin(self, what: str) -> None:
        self._segment.leaving.raise_if_left()
        self._segment.replay.check_thread(what)
        if not self._segment.is_async:  # its branches use connections of their own
            self._segment.store.check_boundary(what)

    def _place(self, call: WaitCall | FanOut) -> CallSite:
        self._segment.leaving.raise_if_left()
        return self._segment.replay.place(call.name, call.kind, call.key)

    def _carry_out(self, routine: Routine[object], name: str) -> Any:
        if not self._segment.is_async:
            return self._segment.leaving.in_body(partial(drive, routine))
        coroutine = cast("CoroutineType[Any, Any, object]", self._segment.leaving.track(routine))
        coroutine.__qualname__ = name  # Python's "never awaited" warning shows it
        return DurableCall(coroutine)


async def _awaited(branch: CoroutineType[Any, Any, Any]) -> object:
    return await branch


def _wait(segment: Segment, call: WaitCall, site: CallSite) -> Routine[object]:
    outcome = site.outcome
    if outcome is not None and outcome.wait in ENDED:
        return call.conclude(outcome)
    yield from segment.boundary(f"wait {site.key!r}", site)
    wait = None
    if outcome is None:
        segment.leaving.check_time_limits(f"wait {site.key!r}")
        build = partial(call.build, site.key, site.position)
        wait = (yield Io(build)) if call.build_reads else build()
    return (yield from segment.leaving.park(wait, site.key))
