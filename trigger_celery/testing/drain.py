"""Carries runs to their end in one thread: what workers, beat and time would do, in a loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.celery.local.in_process import execute_in_process
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.runner import published
from trigger_celery.engine.segment.outcome import Executed
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.errors import UnknownTask
from trigger_celery.ports import Dispatcher
from trigger_celery.vocabulary.records import Nudge, Run
from trigger_celery.vocabulary.states import RunState

YEAR = timedelta(days=365)
"""How much time may pass in a test unless it says otherwise."""
_SHORTEST = timedelta(milliseconds=1)


def drain(
    engine: Engine,
    *,
    open_runs: Callable[[], Iterable[UUID]],
    advance: Callable[[timedelta], object],
    max_virtual_time: timedelta = YEAR,
) -> list[Executed]:
    """Execute and sweep until every run has ended or waits for an event without a timeout.

    Works with any store: ``open_runs`` returns the ids of the runs that have not ended (ids
    of others do no harm), ``advance`` lets the time of its database pass. Time passes only
    when nothing else is left to do, to the moment at which the next run is due, and by at
    most ``max_virtual_time`` in all; zero does only what is possible now.

    Returns what became of each segment, in order. Raises :exc:`UnknownTask` for a run that
    may start but whose task is not declared in ``engine.tasks``.
    """
    with _watching(engine), _Pauses.of(engine) as pauses, _Nudged.of(engine) as nudged:
        return _drain(engine, pauses, nudged, open_runs, advance, max_virtual_time)


@contextmanager
def _watching(engine: Engine) -> Iterator[None]:
    """Let the engine warn of what steps change in place."""
    before, engine.watches_changes = engine.watches_changes, True
    try:
        yield
    finally:
        engine.watches_changes = before


class _Pauses:
    """Stands in for the alarm: the next sweep does what was to be done after ``shortest``."""

    def __init__(self) -> None:
        self.shortest: timedelta | None = None

    @classmethod
    @contextmanager
    def of(cls, engine: Engine) -> Iterator[_Pauses]:
        alarm = engine.alarm
        pauses = engine.alarm = cls()
        try:
            yield pauses
        finally:
            engine.alarm = alarm

    def set(self, key: str, pause: timedelta, callback: Callable[[], object]) -> None:
        self.shortest = pause if self.shortest is None else min(pause, self.shortest)


class _Nudged:
    """Keeps the runs that the engine nudges, and lets the engine's own dispatcher have them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._run_ids: deque[UUID] = deque()

    @classmethod
    @contextmanager
    def of(cls, engine: Engine) -> Iterator[_Nudged]:
        dispatcher = engine.dispatcher
        nudged = engine.dispatcher = cls(dispatcher)
        try:
            yield nudged
        finally:
            engine.dispatcher = dispatcher

    @property
    def refusals(self) -> int:
        return self._dispatcher.refusals

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        self._run_ids += [nudge.run_id for nudge in nudges]
        self._dispatcher.nudge(nudges)

    def route(self, nudge: Nudge) -> str:
        return self._dispatcher.route(nudge)

    def backlog(self, nudge: Nudge) -> int | None:
        return self._dispatcher.backlog(nudge)

    def forget(self) -> None:
        self._run_ids.clear()

    def executed(self, engine: Engine) -> Iterator[Executed]:
        """Execute what was nudged, as workers would, until nothing more is nudged by that."""
        while self._run_ids and not engine.draining():
            run = engine.store.runs.get(self._run_ids.popleft())
            if run is not None:
                yield execute_declared(engine, run)


def _drain(
    engine: Engine,
    pauses: _Pauses,
    nudged: _Nudged,
    open_runs: Callable[[], Iterable[UUID]],
    advance: Callable[[timedelta], object],
    left: timedelta,
) -> list[Executed]:
    done: list[Executed] = []
    settled = False
    while True:
        pauses.shortest = None
        sweep(engine)
        runs = [run for run in map(engine.store.runs.get, open_runs()) if run is not None]
        now = engine.store.now()
        nudged.forget()  # all of these are among the open runs
        tried = [execute_declared(engine, run) for run in runs if _may_start(run, now)]
        tried += nudged.executed(engine)
        segments = [executed for executed in tried if executed.run is not None]
        done += segments
        if segments and not engine.draining():
            settled = False
            continue
        pause = _until_next(engine, runs, now, pauses.shortest)
        if runs and not settled:  # what a crash left undone is made up for by now
            pause = min(pause or YEAR, engine.config.nudge_interval)
            settled = True
        if pause is None or pause > left:
            return done
        advance(pause)
        left -= pause


def execute_declared(engine: Engine, run: Run) -> Executed:
    """Execute a run by the definition of its task; record its end as published if that is owed.

    Raises :exc:`UnknownTask` if the task is not declared in ``engine.tasks``.
    """
    executed = execute_in_process(engine, run.id, _definition(engine, run))
    published(engine, executed)
    return executed


def _definition(engine: Engine, run: Run) -> TaskDefinition:
    definition = engine.tasks.get(run.task)
    if definition is None:
        known = ", ".join(sorted(task.name for task in engine.tasks)) or "none"
        raise UnknownTask(
            f"run {run.id} is of task {run.task!r}, which is not declared here; declared: {known}"
        )
    return definition


def _may_start(run: Run, now: datetime) -> bool:
    if run.state is RunState.QUEUED:  # without a due_at it stands in line, or is paused
        return run.available_at <= now and run.due_at is not None
    return run.state.terminal and run.published_at is None


def _until_next(
    engine: Engine, runs: Iterable[Run], now: datetime, pause: timedelta | None
) -> timedelta | None:
    times = [] if pause is None else [now + pause]
    times += [run.due_at for run in runs if run.due_at is not None]
    times += [run.available_at for run in runs if run.available_at > now]
    times += [run.deadline_at for run in runs if run.deadline_at is not None]
    if not times:  # schedules alone would go on for ever: a test lets their time come
        return None
    times += [each.due_at for each in engine.store.schedules.all() if each.due_at is not None]
    return max(_SHORTEST, min(times) - now)
