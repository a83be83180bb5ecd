"""Runs durable tasks to their end inside a test: no worker, no broker, no waiting.

::

    def test_an_approval_publishes_the_document():
        with Harness() as harness:
            flow = harness.task(approval_flow)
            run_id = harness.trigger(flow, "d-1")
            harness.run_until_idle(max_virtual_time=timedelta(0))  # it waits, no time passes
            harness.send_event("approval-received", {"documentId": "d-1"})
            harness.run_until_idle()
            assert harness.result(run_id) == "published"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from trigger_celery.client.installed import install_engine
from trigger_celery.config import Config
from trigger_celery.declare.definition import Registry, TaskDefinition, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Executed, stored_error
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.events import send_event
from trigger_celery.engine.waking.subscriptions import synchronize
from trigger_celery.errors import RunError
from trigger_celery.ports import Store
from trigger_celery.testing.alarm import ManualAlarm
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.drain import YEAR, drain, execute_declared
from trigger_celery.testing.memory.store import MemoryStore
from trigger_celery.vocabulary.records import Nudge, Outcome, Run
from trigger_celery.vocabulary.states import RunState, WaitState


class RecordingDispatcher:
    """Publishes nothing; ``nudges`` holds what it was told, in order."""

    def __init__(self) -> None:
        self.nudges: list[Nudge] = []

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Keep the nudges."""
        self.nudges += nudges


class Harness:
    """An engine of its own on a store in memory, for one test; use it in a ``with`` block.

    While the block lasts it is the engine of the process, so ``send_event`` and the like
    reach it. ``clock`` moves only when nothing else is left to do, or by :meth:`advance`.
    ``alarm`` holds what is to be done at a moment of that clock.
    """

    def __init__(
        self,
        *,
        config: Config | None = None,
        now: datetime | None = None,
        wrap: Callable[[Store], Store] | None = None,
    ) -> None:
        """Start empty. ``now`` is the time at the start, aware.

        ``wrap`` may put a store around the one in memory:
        ``wrap=lambda store: FaultStore(store, {3: Fault.AFTER})``.
        """
        self.clock = ManualClock() if now is None else ManualClock(now)
        self.memory = _Memory(self.clock)
        self.dispatcher = RecordingDispatcher()
        self.config = config or Config()
        self.engine = Engine(
            store=wrap(self.memory) if wrap else self.memory,
            dispatcher=self.dispatcher,
            clock=self.clock,
            configure=lambda: self.config,
            tasks=Registry(),
        )
        self.alarm = ManualAlarm(self.clock)
        self.engine.alarm = self.alarm
        self._before: Engine | None = None

    def __enter__(self) -> Self:
        """Become the engine of the process."""
        self._before = install_engine(self.engine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back the engine that was there before."""
        install_engine(self._before)

    def task(self, fn: Callable[..., Any], **options: Any) -> TaskDefinition:
        """Declare a task for this harness alone; ``options`` as for ``durable_task``.

        Its name is the function's unless ``name=`` is given.
        """
        definition = define(fn, **{"name": fn.__name__, **options})
        self.engine.tasks.add(definition)
        if definition.on_event is not None or definition.name in self.engine.subscribed:
            synchronize(self.engine)
        return definition

    def trigger(self, definition: TaskDefinition, /, *args: Any, **kwargs: Any) -> UUID:
        """Create a run with these arguments of the task and return its id."""
        return trigger(self.engine, definition, args, kwargs)

    def send_event(
        self, name: str, payload: object = None, *, id: str | None = None, source: str = ""
    ) -> str:
        """Send an event from outside of any run and return its id."""
        synchronize(self.engine)
        return send_event(self.engine, name, payload, id=id, source=source)

    def cancel(self, run_id: UUID, reason: str = "") -> bool:
        """Cancel a run; False if it had ended already."""
        return run_control.cancel(self.engine, run_id, reason)

    def retry(self, run_id: UUID) -> None:
        """Queue a failed run again."""
        run_control.retry(self.engine, run_id)

    def advance(self, delta: timedelta) -> None:
        """Let time pass; nothing else happens before something is executed or swept."""
        self.clock.advance(delta)

    def sweep(self) -> int:
        """Make one pass of the sweep; return how much it looked at."""
        return sweep(self.engine)

    def execute(self, run_id: UUID) -> Executed:
        """Execute one segment of a run, as one nudge would."""
        return execute_declared(self.engine, self.run(run_id))

    def run_until_idle(self, max_virtual_time: timedelta = YEAR) -> list[Executed]:
        """Carry all runs on until they ended or wait for an event without a timeout.

        The clock jumps to whatever is due next, by ``max_virtual_time`` at most: give zero to
        stop where the first of them has to wait. Returns what became of each segment. Raises
        ``UnknownTask`` for a run whose task was not declared with :meth:`task`.
        """
        return drain(
            self.engine,
            open_runs=self.memory.open_runs,
            advance=self.clock.advance,
            max_virtual_time=max_virtual_time,
        )

    def run(self, run_id: UUID) -> Run:
        """Return the run as it is stored. Raises ``RunNotFound``."""
        return run_control.get(self.engine, run_id)

    def result(self, run_id: UUID) -> Any:
        """Return what a completed run returned.

        Raises :exc:`RunError` if it has not ended, the stored failure (``RunFailed``,
        ``RunCanceled``) if it did not succeed.
        """
        run = self.run(run_id)
        if not run.state.terminal:
            raise RunError(f"run {run_id} of task {run.task!r} has not ended: it is {run.state}")
        if run.state is not RunState.COMPLETED or run.output is None:
            raise stored_error(run)
        return self.engine.codec.decode(run.output)

    def steps(self, run_id: UUID) -> dict[str, Any]:
        """Return what the steps of a run returned, by key, in the order of the body."""
        recorded = self._outcomes(run_id)
        return {
            outcome.key: self.engine.codec.decode(outcome.value)
            for outcome in recorded
            if outcome.value is not None and outcome.wait is None
        }

    def waits(self, run_id: UUID) -> dict[str, WaitState]:
        """Return what became of the waits of a run, by key, in the order of the body."""
        return {
            outcome.key: outcome.wait
            for outcome in self._outcomes(run_id)
            if outcome.wait is not None
        }

    def _outcomes(self, run_id: UUID) -> list[Outcome]:
        attempt = self.run(run_id).attempt
        recorded = self.memory.checkpoints.load(run_id, run_attempt=attempt).recorded
        return sorted(recorded.values(), key=lambda outcome: outcome.position)


class _Memory(MemoryStore):
    def open_runs(self) -> list[UUID]:
        with self._core.lock:
            rows = list(self._core.tables.runs.values())
        return [row.run.id for row in rows if row.run.published_at is None]
