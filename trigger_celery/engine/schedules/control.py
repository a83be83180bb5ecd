"""What code and people ask of schedules: create, pause, resume, delete, run now, backfill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from uuid import UUID

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.schedule import Timetable
from trigger_celery.declare.schedule_rules import instants
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import encode_input
from trigger_celery.engine.schedules.firing import nudge, rule_of, run_of, set_out
from trigger_celery.errors import InvalidOption, InvalidSchedule, ScheduleNotFound
from trigger_celery.ports.schedules import Decide
from trigger_celery.vocabulary.checks import instant
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun, Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState

BACKFILL_LIMIT = 10_000
"""A backfill of more nominal times is a mistake, or several backfills."""
BATCH = 500
RULE = ("cron", "every", "timezone")
_MOMENT = timedelta(microseconds=1)


def build(
    engine: Engine,
    definition: TaskDefinition,
    key: str,
    table: Timetable,
    *,
    id: UUID | None = None,
    declared: bool = False,
) -> Schedule:
    """Return the schedule of a task under a key, not yet stored.

    Raises ``TypeError`` for arguments the task does not take, and the codec's errors.
    """
    definition.check_arguments(table.args, table.kwargs)
    return Schedule(
        id=id or new_id(),
        task=definition.name,
        key=key,
        declared=declared,
        cron=table.cron,
        every=table.every,
        timezone=table.timezone,
        input=encode_input(engine, definition.name, table.args, table.kwargs),
        overlap=table.overlap,
        catch_up=table.catch_up,
    )


def put(engine: Engine, wanted: Schedule) -> bool:
    """Store a schedule, or change the one of the same key; return whether it is new.

    Its times begin anew only if the rule changed; that it is paused stays.
    """
    new = set_out(wanted, engine.store.now())
    if engine.store.schedules.add(new):
        return True

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        if known.declared != wanted.declared:
            raise InvalidSchedule(_taken(known))
        changed = merged(known, wanted)
        if changed == known:
            return None
        if any(getattr(changed, name) != getattr(known, name) for name in RULE):
            changed = set_out(changed, now)
        return ScheduleChange(schedule=changed)

    engine.store.schedules.change(wanted.key, decide)
    return False


def merged(known: Schedule, wanted: Schedule) -> Schedule:
    """Return a stored schedule with what another says of its task, rule and options."""
    return replace(
        known,
        task=wanted.task,
        cron=wanted.cron,
        every=wanted.every,
        timezone=wanted.timezone,
        input=wanted.input,
        overlap=wanted.overlap,
        catch_up=wanted.catch_up,
    )


def get(engine: Engine, key: str) -> Schedule:
    """Return a schedule. Raises :exc:`ScheduleNotFound`."""
    found = engine.store.schedules.get(key)
    if found is None:
        raise ScheduleNotFound(f"no schedule has the key {key!r}")
    return found


def pause(engine: Engine, key: str) -> bool:
    """Let a schedule start nothing until it is resumed; False if it was paused already."""

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        if known.paused_at is not None:
            return None
        paused = replace(known, paused_at=now, due_at=None, buffered_at=None)
        return ScheduleChange(schedule=paused)

    return _change(engine, key, decide) is not None


def resume(engine: Engine, key: str) -> bool:
    """Let a schedule go on with its next time from now; False if it was not paused."""

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        if known.paused_at is None:
            return None
        return ScheduleChange(schedule=set_out(replace(known, paused_at=None), now))

    return _change(engine, key, decide) is not None


def delete(engine: Engine, key: str) -> bool:
    """Delete a schedule, its runs stay; False if there is none.

    Raises :exc:`InvalidSchedule` for one that the code of a task declares.
    """
    known = engine.store.schedules.get(key)
    if known is not None and known.declared:
        definition = engine.task(known.task)
        if definition is not None and key in definition.schedules:
            raise InvalidSchedule(
                f"schedule {key!r} is declared by the code of task {known.task!r} and would come "
                "back: take it out there, or pause it"
            )
    return engine.store.schedules.remove(key)


def run_now(engine: Engine, key: str) -> UUID:
    """Start a run of a schedule now, paused or not, and return its id.

    Its nominal time is now; the schedule's own times stay as they are.
    """
    run_id = new_id()

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        run = run_of(engine, known, now, last_at=known.last_at, id=run_id)
        return ScheduleChange(schedule=replace(known, last_run_id=run_id), runs=(run,))

    nudge(engine, _change(engine, key, decide))
    return run_id


def backfill(
    engine: Engine, key: str, start: datetime, end: datetime, *, dry_run: bool = False
) -> Sequence[datetime]:
    """Start a run for each nominal time from ``start`` up to, not including, ``end``.

    Times that had their run before get no other. Returns those that got one now, in UTC;
    ``dry_run`` only tells which would. Overlap is not judged: all may run at once.

    Raises :exc:`ScheduleNotFound`, :exc:`InvalidTime` for naive times and
    :exc:`InvalidOption` for a time to come or over 10,000 nominal times.
    """
    schedule = get(engine, key)
    times = _times(engine, schedule, instant(start, "start"), instant(end, "end"))
    before: datetime | None = None
    runs = []
    for each in times:
        runs.append(run_of(engine, schedule, each, last_at=before))
        before = each
    if dry_run:
        new = [run.id for run in runs if engine.store.runs.get(run.id) is None]
    else:
        new = []
        for first in range(0, len(runs), BATCH):
            some = tuple(runs[first : first + BATCH])
            change = _change(engine, key, partial(_with_runs, some))
            nudge(engine, change)
            new += [] if change is None else [run.id for run in change.runs]
    fresh = set(new)
    return [each for each, run in zip(times, runs, strict=True) if run.id in fresh]


def _times(engine: Engine, schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    if end > engine.store.now():
        raise InvalidOption(f"a backfill ends in the past, got the end {end.isoformat()}")
    if start >= end:
        raise InvalidOption(
            f"expected a backfill to start before it ends, got: {start.isoformat()} and "
            f"{end.isoformat()}"
        )
    found = instants(rule_of(schedule), start.astimezone(UTC) - _MOMENT)
    times = []
    for each in takewhile(lambda each: each < end, found):
        times.append(each)
        if len(times) > BACKFILL_LIMIT:
            raise InvalidOption(
                f"schedule {schedule.key!r} has over {BACKFILL_LIMIT:,} nominal times between "
                f"{start.isoformat()} and {end.isoformat()}: backfill a part of that"
            )
    return times


def _with_runs(
    runs: tuple[NewRun, ...], known: Schedule, last: RunState | None, now: datetime
) -> ScheduleChange:
    return ScheduleChange(schedule=known, runs=runs)


def _change(engine: Engine, key: str, decide: Decide) -> ScheduleChange | None:
    """Change a schedule that exists. Raises :exc:`ScheduleNotFound`."""
    change = engine.store.schedules.change(key, decide)
    if change is None:
        get(engine, key)
    return change


def _taken(known: Schedule) -> str:
    if known.declared:
        return (
            f"the schedule key {known.key!r} is that of a schedule in the code of task "
            f"{known.task!r}: change it there, or choose another key"
        )
    return (
        f"the schedule key {known.key!r} of the code is that of a schedule which was created for "
        f"task {known.task!r}: delete that one, or give cron() or every() another key="
    )
