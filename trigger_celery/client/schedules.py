"""Schedules that code makes and manages, beside those that tasks declare."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from trigger_celery.body.context import StepCall, current_session
from trigger_celery.body.steps import line_of, primitive
from trigger_celery.client.installed import installed_engine
from trigger_celery.client.starting import find_task
from trigger_celery.client.triggering import Triggering
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.schedule import OverlapName, timetable
from trigger_celery.engine.core import Engine
from trigger_celery.engine.schedules import control as schedule_control
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery.vocabulary.records import StepKind


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
) -> Any:
    """Start runs of a task by ``cron`` or ``every``; return whether the schedule is new.

    ``key`` names it: a schedule that exists under it is changed to what is said here, and
    its times begin anew if the rule is another. What is left out gets its default. A pause
    stays. The options are those of :func:`trigger_celery.cron`.

    Like all calls about schedules it works in the caller's transaction, and in a task's body
    it is a step.

    Raises :exc:`InvalidSchedule` also for a key that a task declares, ``TypeError`` for
    arguments the task does not take, :exc:`UnknownTask`, :exc:`InvalidName` and the codec's
    errors, before anything is written.
    """
    valid_name(key, "the key of a schedule")
    zone = tz.key if isinstance(tz, ZoneInfo) else tz
    table = timetable(
        cron=cron,
        every=every,
        timezone=zone,
        overlap=overlap,
        catch_up=catch_up,
        args=args,
        kwargs=kwargs,
    )
    engine = installed_engine()
    wanted = schedule_control.build(engine, _definition(engine, task), key, table)
    return _step("create_schedule", partial(schedule_control.put, engine, wanted))


@primitive
def pause_schedule(key: str) -> Any:
    """Let a schedule start nothing until it is resumed; False if it was paused already.

    Deployments do not end the pause. Raises :exc:`ScheduleNotFound`.
    """
    return _step("pause_schedule", partial(schedule_control.pause, installed_engine(), key))


@primitive
def resume_schedule(key: str) -> Any:
    """Let a paused schedule go on with its next time from now; False if it was not paused.

    What it missed stays missed, see :func:`backfill`. Raises :exc:`ScheduleNotFound`.
    """
    return _step("resume_schedule", partial(schedule_control.resume, installed_engine(), key))


@primitive
def delete_schedule(key: str) -> Any:
    """Delete a schedule, its runs stay; False if there is none.

    Raises :exc:`InvalidSchedule` for one that a task declares: it would come back.
    """
    return _step("delete_schedule", partial(schedule_control.delete, installed_engine(), key))


@primitive
def run_schedule(key: str) -> Any:
    """Start a run of a schedule now, paused or not, and return its id.

    Its nominal time is now; the times of the schedule stay as they are. Raises
    :exc:`ScheduleNotFound`.
    """

    def run() -> UUID:
        return schedule_control.run_now(installed_engine(), key)

    return _step("run_schedule", run)


@primitive
def backfill(key: str, start: datetime, end: datetime) -> Any:
    """Start a run for each nominal time from ``start`` up to, not including, ``end``.

    Times that had their run before get no other. Returns the times that got one now.
    Overlap is not judged: all of them may run at once.

    Raises :exc:`ScheduleNotFound`, :exc:`InvalidTime` for naive times, :exc:`InvalidOption`
    for an end in the future and for over 10,000 nominal times.
    """

    def fill() -> list[datetime]:
        return list(schedule_control.backfill(installed_engine(), key, start, end))

    return _step("backfill", fill)


def _definition(engine: Engine, task: Triggering[..., Any] | str) -> TaskDefinition:
    return find_task(engine, task) if isinstance(task, str) else task.durable


def _step(name: str, call: Callable[[], object]) -> Any:
    """Make the call; in a task's body as a step, so that a replay does not make it again."""
    session = current_session()
    if session is None or session.in_step:
        return call()
    line = line_of(sys._getframe(2))
    return session.step(StepCall(name=name, kind=StepKind.STEP, fn=call, kwargs={}, source=line))
