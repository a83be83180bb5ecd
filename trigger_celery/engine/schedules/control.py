"""Stores the schedules that tasks declare and that code creates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.schedule import Timetable
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import encode_input
from trigger_celery.engine.schedules.firing import set_out
from trigger_celery.errors import InvalidSchedule, ScheduleNotFound
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import Schedule, ScheduleChange
from trigger_celery.vocabulary.states import RunState

RULE = ("cron", "every", "timezone")


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
    new = set_out(wanted, engine.patient.now())
    if engine.patient.schedules.add(new):
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

    engine.patient.schedules.change(wanted.key, decide)
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


def is_key(key: object) -> bool:
    """Whether a schedule may be called so: PostgreSQL cannot even look for a NUL."""
    return isinstance(key, str) and key.isprintable()


def get(engine: Engine, key: str) -> Schedule:
    """Return a schedule. Raises :exc:`ScheduleNotFound`."""
    found = engine.patient.schedules.get(key) if is_key(key) else None
    if found is None:
        raise ScheduleNotFound(f"no schedule has the key {key!r}")
    return found


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
