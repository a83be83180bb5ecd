"""Schedules: create one beside those that tasks declare; list, pause, resume, run, backfill.

All verbs but the lists work in the caller's transaction, and are a step in a task's body.
Those that take a key raise ``ScheduleNotFound``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Any, cast
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from trigger_celery.body.both_styles import Durable, DurableList, DurableUUID
from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import primitive, source_line
from trigger_celery.client.access import installed_engine, permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.starting import Triggering, find_task
from trigger_celery.declare import schedule as schedule_rules
from trigger_celery.declare.schedule import OverlapName, timetable
from trigger_celery.engine.core import Engine
from trigger_celery.engine.schedules import control as schedule_control
from trigger_celery.engine.schedules.firing import nudge, rule_of, run_of, set_out
from trigger_celery.errors import InvalidOption, InvalidSchedule, TriggerError
from trigger_celery.ports.schedules import Decide
from trigger_celery.vocabulary.checks import instant, valid_name
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun, Schedule, ScheduleChange, StepKind
from trigger_celery.vocabulary.states import RunState

BACKFILL_LIMIT = 10_000
"""A backfill of more nominal times is a mistake, or several backfills."""
UPCOMING_LIMIT = 1_000
"""So many next times of each schedule are listed at most."""
BATCH = 500
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule. ``rule`` is what it was declared or created with, as text.

    ``state`` is ``"active"``, ``"paused"``, or ``"invalid"`` for a row whose rule cannot be
    read. ``last_at`` is the nominal time that last started a run, ``upcoming`` are the next
    ones; there are none while it is paused. ``declared`` says that the code of its task
    declares it.
    """

    key: str
    task: str
    rule: str
    overlap: str
    declared: bool
    state: str
    last_at: datetime | None
    upcoming: tuple[datetime, ...]


def list_schedules(*, upcoming: int = 1) -> Sequence[ScheduleInfo]:
    """Return all schedules by key, each with so many of its next nominal times.

    Raises :exc:`InvalidOption` unless ``upcoming`` is from 0 to 1,000.
    """
    if not 0 <= upcoming <= UPCOMING_LIMIT:
        raise InvalidOption(f"expected upcoming to be from 0 to {UPCOMING_LIMIT}, got: {upcoming}")
    patient = permitted("list_schedules").engine.patient
    now = patient.now()
    return [_info(each, now, upcoming) for each in patient.schedules.all()]


def schedule_zone(key: str) -> tzinfo:
    """Return the time zone in which the rule of a schedule is read."""
    engine = permitted("list_schedules", key).engine
    return schedule_rules.zone(schedule_control.get(engine, key).timezone)


@primitive
def create_schedule(
    task: Triggering[..., Any] | str,
    *,
    key: str,
    cron: str = "",
    every: timedelta | None = None,
    tz: str | ZoneInfo = "UTC",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    overlap: OverlapName = "skip",
    catch_up: timedelta | float = timedelta(0),
) -> Durable[bool]:
    """Start runs of a task by ``cron`` or ``every``; return whether the schedule is new.

    ``key`` names it: a schedule that exists under it is changed to what is said here, and
    its times begin anew if the rule is another. What is left out gets its default. A pause
    stays. The options are those of :func:`trigger_celery.cron`.

    Raises :exc:`InvalidSchedule` also for a key that a task declares, ``TypeError`` for
    arguments the task does not take, :exc:`UnknownTask`, :exc:`InvalidName` and the codec's
    errors, before anything is written.
    """
    valid_name(key, "the key of a schedule")
    table = timetable(
        cron=cron,
        every=every,
        timezone=tz.key if isinstance(tz, ZoneInfo) else tz,
        overlap=overlap,
        catch_up=catch_up,
        args=args,
        kwargs=kwargs,
    )
    engine = installed_engine()
    definition = find_task(engine, task) if isinstance(task, str) else task.durable
    wanted = schedule_control.build(engine, definition, key, table)

    def put() -> bool:
        return schedule_control.put(permitted("create_schedule", key).engine, wanted)

    return _step("create_schedule", put)


@primitive
def pause_schedule(key: str) -> Durable[bool]:
    """Let a schedule start nothing until it is resumed; False if it was paused already.

    Deployments do not end the pause.
    """

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        if known.paused_at is not None:
            return None
        paused = replace(known, paused_at=now, due_at=None, buffered_at=None)
        return ScheduleChange(schedule=paused)

    def pause() -> bool:
        return _has_changed(permitted("pause_schedule", key).engine, key, decide)

    return _step("pause_schedule", pause)


@primitive
def resume_schedule(key: str) -> Durable[bool]:
    """Let a paused schedule go on with its next time from now; False if it was not paused.

    What it missed stays missed, see :func:`backfill`.
    """

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        if known.paused_at is None:
            return None
        return ScheduleChange(schedule=set_out(replace(known, paused_at=None), now))

    def resume() -> bool:
        return _has_changed(permitted("resume_schedule", key).engine, key, decide)

    return _step("resume_schedule", resume)


@primitive
def delete_schedule(key: str) -> Durable[bool]:
    """Delete a schedule, its runs stay; False if there is none.

    Raises :exc:`InvalidSchedule` for one that a task declares: it would come back.
    """

    def delete() -> bool:
        engine = permitted("delete_schedule", key).engine
        if not schedule_control.is_key(key):
            return False
        known = engine.patient.schedules.get(key)
        if known is not None and known.declared:
            definition = engine.task(known.task)
            if definition is not None and key in definition.schedules:
                raise InvalidSchedule(
                    f"schedule {key!r} is declared by the code of task {known.task!r} and would "
                    "come back: take it out there, or pause it"
                )
        return engine.resolve(
            lambda again: engine.store.schedules.remove(key) or (again and known is not None)
        )

    return _step("delete_schedule", delete)


@primitive
def run_schedule(key: str) -> DurableUUID:
    """Start a run of a schedule now, paused or not, and return its id.

    Its nominal time is now; the times of the schedule stay as they are.
    """

    def run() -> UUID:
        engine, run_id = permitted("run_schedule", key).engine, _run_id()

        def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
            run = run_of(engine, known, now, last_at=known.last_at, id=run_id)
            return ScheduleChange(schedule=replace(known, last_run_id=run_id), runs=(run,))

        _start(engine, key, decide)
        return run_id

    return _step("run_schedule", run)


@primitive
def backfill(
    key: str, start: datetime, end: datetime, *, dry_run: bool = False
) -> DurableList[datetime]:
    """Start a run for each nominal time from ``start`` up to, not including, ``end``.

    Times that had their run before get no other. Returns the times that got one now, in UTC;
    with ``dry_run`` those that would get one. Overlap is not judged: all of them may run at
    once.

    Raises :exc:`InvalidTime` for naive times, :exc:`InvalidOption` for an end in the future
    and for over 10,000 nominal times.
    """

    def fill() -> list[datetime]:
        return _backfill(permitted("backfill", key).engine, key, start, end, dry_run)

    return _step("backfill", fill)


def _backfill(
    engine: Engine, key: str, start: datetime, end: datetime, dry_run: bool
) -> list[datetime]:
    schedule = schedule_control.get(engine, key)
    times = _times(engine, schedule, instant(start, "start"), instant(end, "end"))
    last_ones = (None, *times)
    runs = [
        run_of(engine, schedule, each, last_at=before)
        for each, before in zip(times, last_ones, strict=False)
    ]
    if dry_run:
        fresh = {run.id for run in runs if engine.patient.runs.get(run.id) is None}
    else:
        fresh = {run_id for each in _batches(runs) for run_id in _created(engine, key, each)}
    return [each for each, run in zip(times, runs, strict=True) if run.id in fresh]


def _batches(runs: Sequence[NewRun]) -> list[tuple[NewRun, ...]]:
    return [tuple(runs[first : first + BATCH]) for first in range(0, len(runs), BATCH)]


def _created(engine: Engine, key: str, runs: tuple[NewRun, ...]) -> list[UUID]:
    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        return ScheduleChange(schedule=known, runs=runs)

    return [run.id for run in _start(engine, key, decide)]


def _times(engine: Engine, schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    if end > engine.patient.now():
        raise InvalidOption(f"a backfill ends in the past, got the end {end.isoformat()}")
    if start >= end:
        raise InvalidOption(
            f"expected a backfill to start before it ends, got: {start.isoformat()} and "
            f"{end.isoformat()}"
        )
    found = schedule_rules.instants(rule_of(schedule), start.astimezone(UTC) - _MOMENT)
    times = []
    for each in takewhile(lambda each: each < end, found):
        times.append(each)
        if len(times) > BACKFILL_LIMIT:
            raise InvalidOption(
                f"schedule {schedule.key!r} has over {BACKFILL_LIMIT:,} nominal times between "
                f"{start.isoformat()} and {end.isoformat()}: backfill a part of that"
            )
    return times


def _change(engine: Engine, key: str, decide: Decide) -> ScheduleChange | None:
    """Change a schedule that exists. Raises :exc:`ScheduleNotFound`."""
    is_key = schedule_control.is_key(key)
    change = engine.patient.schedules.change(key, decide) if is_key else None
    if change is None:
        schedule_control.get(engine, key)
    return change


def _has_changed(engine: Engine, key: str, decide: Decide) -> bool:
    """Change a schedule; return whether it was another before this call."""
    differed = False

    def noted(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        nonlocal differed
        change = decide(known, last, now)
        differed = differed or change is not None
        return change

    def attempt(again: bool) -> bool:
        _change(engine, key, noted)
        return differed  # in an earlier attempt, whose answer was lost

    return engine.resolve(attempt)


def _start(engine: Engine, key: str, decide: Decide) -> Sequence[NewRun]:
    """Create the runs that ``decide`` wants, which are those of a repeat too; return them."""
    wanted: list[ScheduleChange] = []

    def noted(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        change = decide(known, last, now)
        wanted[:] = [] if change is None else [change]
        return change

    def start(again: bool) -> Sequence[NewRun]:
        change = _change(engine, key, noted)
        if change is not None and again:  # a lost answer may have been about these
            change = replace(change, runs=wanted[0].runs)
        nudge(engine, change)
        return () if change is None else change.runs

    return engine.resolve(start)


def _run_id() -> UUID:
    """Return the id of a run that is started by hand: in a body that of the step."""
    session = current_session()
    if session is None or session.in_step:
        return new_id()
    run = session.describe()
    return uuid5(run.id, run.idempotency_key)


def _info(schedule: Schedule, now: datetime, many: int) -> ScheduleInfo:
    state = "active" if schedule.paused_at is None else "paused"
    following: tuple[datetime, ...] = ()
    if schedule.paused_at is None:
        begin = schedule.next_at or now
        try:
            later = schedule_rules.upcoming(rule_of(schedule), begin, many)
        except TriggerError:  # a row that was written by hand
            state = "invalid"
        else:
            first = () if schedule.next_at is None else (schedule.next_at,)
            following = (*first, *later)[:many]
    cron, every = f"{schedule.cron} {schedule.timezone}", f"every {schedule.every}"
    return ScheduleInfo(
        key=schedule.key,
        task=schedule.task,
        rule=cron if schedule.cron else every,
        overlap=schedule.overlap.value,
        declared=schedule.declared,
        state=state,
        last_at=schedule.last_at,
        upcoming=following,
    )


def _step(name: str, call: Callable[[], object]) -> Durable[Any]:
    """Make the call; in a task's body as a step, so that a replay does not make it again."""
    session = current_session()
    if session is None or session.in_step:
        return cast(Durable[Any], call())
    line = source_line(sys._getframe(2))
    return session.step(StepCall(name=name, kind=StepKind.STEP, fn=call, kwargs={}, source=line))


alist_schedules = twin(list_schedules)
acreate_schedule = twin(create_schedule)
apause_schedule = twin(pause_schedule)
aresume_schedule = twin(resume_schedule)
adelete_schedule = twin(delete_schedule)
arun_schedule = twin(run_schedule)
abackfill = twin(backfill)
