"""Runs durable tasks to their end inside a test: no worker, no broker, no waiting.

::

    def test_an_approval_publishes_the_document():
        with Harness() as harness:
            run_id = harness.trigger(approval_flow, "d-1")
            harness.run_until_idle(max_virtual_time=timedelta(0))  # it waits, no time passes
            harness.send_event("approval-received", {"documentId": "d-1"})
            harness.run_until_idle()
            assert harness.result(run_id) == "published"
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeAlias
from uuid import UUID

from trigger_celery.celery.bulk_task import carry_out_bulk_operation
from trigger_celery.client.access import install_engine
from trigger_celery.client.runs import RunInfo, decoded
from trigger_celery.client.starting import ConfiguredTask, Triggering
from trigger_celery.config import Config
from trigger_celery.declare.definition import TaskDefinition, TaskRegistry, declared_tasks, define
from trigger_celery.declare.options import NO_OPTIONS, TriggerOptions
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.process.leases import Holding, LeaseKeeper
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import Executed, Finished, stored_error
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.engine.waking.events import send_event
from trigger_celery.engine.waking.subscriptions import synchronize
from trigger_celery.errors import RunError, UsageError
from trigger_celery.ports import Store
from trigger_celery.testing.alarm import ManualAlarm
from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.drain import YEAR, drain, execute_declared
from trigger_celery.testing.memory.store import MemoryStore
from trigger_celery.vocabulary.checks import duration
from trigger_celery.vocabulary.records import Nudge, Outcome, Run
from trigger_celery.vocabulary.states import RunState, WaitState

logger = logging.getLogger("trigger_celery.testing")

Triggerable: TypeAlias = "Triggering[..., Any] | ConfiguredTask[..., Any] | TaskDefinition"
"""A decorated task, what its ``options(...)`` returns, or what :meth:`Harness.task` returns."""


class RecordingDispatcher(NullDispatcher):
    """Publishes nothing; ``nudges`` holds all that it got, in order."""

    def __init__(self) -> None:
        self.nudges: list[Nudge] = []

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Keep the nudges."""
        self.nudges += nudges


class Harness:
    """An engine of its own on a store in memory, for one test; use it in a ``with`` block.

    While the block lasts it is the engine of the process, so ``task.delay()``, ``get_run``,
    ``send_event`` and the like reach it. ``clock`` moves only when nothing else is left to do,
    or by :meth:`advance`. ``alarm`` holds what is to be done at a moment of that clock. It
    starts no thread that outlives a segment, so an instance is gone with its last reference.

    Decorated tasks are found by themselves, also those that a body triggers. What they declare
    beside (a schedule, an event that starts them) holds once they are given to :meth:`add`.
    """

    def __init__(
        self,
        *,
        config: Config | None = None,
        now: datetime | None = None,
        wrap: Callable[[Store], Store] | None = None,
    ) -> None:
        """Start empty. ``now`` is the time at the start, aware; without it the real one.

        ``wrap`` may put a store around the one in memory:
        ``wrap=lambda store: FaultStore(store, {3: Fault.AFTER})``.
        """
        self.clock = ManualClock(datetime.now(UTC) if now is None else now)
        self.memory = _Memory(self.clock)
        self.dispatcher = RecordingDispatcher()
        self.config = config or Config()
        self.engine = Engine(
            store=wrap(self.memory) if wrap else self.memory,
            dispatcher=self.dispatcher,
            clock=self.clock,
            configure=lambda: self.config,
            tasks=_Tasks(),
            watches_changes=True,
        )
        self.engine.leases = _Leases(self.engine.store, self.clock)
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
        """Declare a plain function as a task of this harness alone.

        ``options`` are those of ``durable_task`` but for Celery's; ``bind=True`` is taken. The
        task's name is the function's unless ``name=`` is given.
        """
        given = {"name": fn.__name__, "bound": options.pop("bind", False), **options}
        definition = define(fn, **given)
        self._declare(definition)
        return definition

    def add(self, *tasks: Triggerable) -> None:
        """Let what these tasks declare hold: the events and schedules that start them."""
        for task in tasks:
            self._declare(_asked(task)[0])

    def _declare(self, definition: TaskDefinition) -> None:
        self.engine.tasks.add(definition)
        if definition.on_event is not None or definition.name in self.engine.subscribed:
            synchronize(self.engine)

    def trigger(self, task: Triggerable, /, *args: Any, **kwargs: Any) -> UUID:
        """Create a run with these arguments of the task and return its id.

        ``task`` is the decorated task, or ``task.options(...)`` for a run with options. Raises
        :exc:`UsageError` for anything else, and what ``task.trigger()`` raises.
        """
        definition, options = _asked(task)
        return trigger(self.engine, definition, args, kwargs, options=options)

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

    def advance(self, delta: timedelta | float) -> None:
        """Let time pass; nothing else happens before something is executed or swept.

        ``delta`` is a ``timedelta`` or seconds. Raises ``InvalidTime`` if it is negative.
        """
        self.clock.advance(duration(delta, "delta"))

    def sweep(self) -> int:
        """Make one pass of the sweep; return how much it looked at."""
        return sweep(self.engine)

    def execute(self, run_id: UUID) -> Executed:
        """Execute one segment of a run, as one nudge would."""
        return execute_declared(self.engine, self.stored(run_id))

    def run_until_idle(self, max_virtual_time: timedelta | float = YEAR) -> list[Executed]:
        """Carry all runs on until they ended or wait for an event without a timeout.

        The clock jumps to whatever is due next, by ``max_virtual_time`` at most: give zero to
        stop where the first of them has to wait; a number is seconds. Returns what became of each
        segment. Each run that fails is logged with its traceback, for the report of a test that
        fails by it.
        Raises ``UnknownTask`` for a run of a task that is not declared in this process.
        """
        executed = drain(
            self.engine,
            open_runs=self.memory.open_runs,
            advance=self.clock.advance,
            max_virtual_time=duration(max_virtual_time, "max_virtual_time"),
        )
        for each in executed:
            _log_failure(each)
        return executed

    def run(self, run_id: UUID) -> RunInfo:
        """Return the run as ``get_run`` does, decoded. Raises ``RunNotFound``."""
        return decoded(self.engine, self.stored(run_id))

    def stored(self, run_id: UUID) -> Run:
        """Return the run as it is stored, its values as text. Raises ``RunNotFound``."""
        return run_control.get(self.engine, run_id)

    def result(self, run_id: UUID) -> Any:
        """Return what a completed run returned.

        Raises :exc:`RunError` if it has not ended, the stored failure (``RunFailed``,
        ``RunCanceled``) if it did not succeed.
        """
        run = self.stored(run_id)
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
            if outcome.value is not None and outcome.wait is None and outcome.error is None
        }

    def waits(self, run_id: UUID) -> dict[str, WaitState]:
        """Return what became of the waits of a run, by key, in the order of the body."""
        return {
            outcome.key: outcome.wait
            for outcome in self._outcomes(run_id)
            if outcome.wait is not None
        }

    def _outcomes(self, run_id: UUID) -> list[Outcome]:
        attempt = self.stored(run_id).attempt
        recorded = self.memory.checkpoints.load(run_id, run_attempt=attempt).recorded
        return sorted(recorded.values(), key=lambda outcome: outcome.position)


class _Tasks(TaskRegistry):
    """The tasks of one harness; any other that this process has declared is found too."""

    def get(self, name: str) -> TaskDefinition | None:
        own = carry_out_bulk_operation.durable
        return own if name == own.name else super().get(name) or declared_tasks.get(name)


class _Leases(LeaseKeeper):
    """Needs no thread: the clock of a test stands still while a body works."""

    def _ensure_thread(self, held: Holding) -> None:
        pass


class _Memory(MemoryStore):
    def open_runs(self) -> list[UUID]:
        with self._core.lock:
            rows = list(self._core.tables.runs.values())
        return [row.run.id for row in rows if row.run.published_at is None]


def _asked(task: Triggerable) -> tuple[TaskDefinition, TriggerOptions]:
    if isinstance(task, ConfiguredTask):
        return task.definition, task.trigger_options
    definition = task if isinstance(task, TaskDefinition) else getattr(task, "durable", None)
    if not isinstance(definition, TaskDefinition):
        raise UsageError(
            f"expected a durable task, got: {task!r}; declare a plain function for this test with "
            "harness.task(fn), or decorate it with @durable_task"
        )
    return definition, NO_OPTIONS


def _log_failure(executed: Executed) -> None:
    if isinstance(executed, Finished) and isinstance(executed.error, Exception):
        run, error = executed.run, executed.error
        if executed.state is RunState.FAILED:
            logger.warning("run %s of task %r failed", run.id, run.task, exc_info=error)
