"""Fires schedules: what a schedule becomes at a moment, and the runs that start with it.

The id of a run follows from its schedule and its nominal time, and it is created in the
transaction that moves the schedule on. So any number of sweeps, dying anywhere, start one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID, uuid5

from trigger_celery.declare.schedule import Rule, instants, rule, upcoming, zone
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.origins import encode_origin
from trigger_celery.engine.runs.trigger import Request, decode_input, new_run, of_creation
from trigger_celery.errors import StoreUnavailable
from trigger_celery.vocabulary.records import (
    Created,
    FromSchedule,
    NewRun,
    Overlap,
    Schedule,
    ScheduleChange,
)
from trigger_celery.vocabulary.states import RunState

logger = logging.getLogger("trigger_celery.schedules")

GRACE = timedelta(minutes=1)
"""A nominal time may be so late without a catch-up window: a sweep is never to the second."""
AT_ONCE = 100
"""One pass starts at most so many runs of a schedule; the next pass goes on."""
BUFFER_CHECK = timedelta(seconds=1)
"""How long after a look at the run before a buffered one is looked at again."""
LEFT_TO_OTHERS = timedelta(minutes=1)
"""How long a schedule that could not be fired is left alone."""
UPCOMING = 5
_MOMENT = timedelta(microseconds=1)


def fire_schedules(engine: Engine) -> int:
    """Fire what is due; return how many schedules were looked at."""
    due = engine.store.schedules.due(limit=engine.config.sweep_batch)
    for schedule in due:
        try:
            fire(engine, schedule)
        except StoreUnavailable:
            raise
        except Exception:  # one bad schedule must not hold up the others
            logger.exception("schedule %r could not be fired", schedule.key)
            engine.store.schedules.change(schedule.key, _buffered)
    return len(due)


def fire(engine: Engine, schedule: Schedule) -> None:
    """Start the runs of a schedule that is due, and move it on.

    ``schedule`` is as it was read; what another sweep did since then is not done again.
    """
    engine.task(schedule.task)  # imports outside of the transaction, if that is to be done at all
    ended = _cancel_before(engine, schedule)

    def decide(known: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
        change = _fired(engine, known, last, now)
        if change is None or not change.runs or known.overlap is not Overlap.CANCEL:
            return change
        # Meanwhile another sweep may have started one: the next pass cancels that first.
        return change if known.last_run_id == ended else None

    nudge(engine, engine.patient.schedules.change(schedule.key, decide))


def _cancel_before(engine: Engine, schedule: Schedule) -> UUID | None:
    """Cancel the run before if the schedule wants that now; return its id.

    Before the other is started: after a crash in between, the next firing does both again.
    """
    if schedule.overlap is not Overlap.CANCEL or schedule.paused_at is not None:
        return None
    before = schedule.last_run_id
    starts = schedule.buffered_at is not None or _plan(schedule, engine.store.now()).times
    if before is None or not starts:
        return None
    run_control.cancel(engine, before, f"schedule {schedule.key!r} starts another run")
    return before


def nudge(engine: Engine, change: ScheduleChange | None) -> None:
    """Let the new runs of a change begin once it is committed."""
    if change is not None and change.runs:
        created = Created([run.id for run in change.runs]).standing(change.lines)
        of_creation(engine, change.runs, created)


def rule_of(schedule: Schedule) -> Rule:
    """Return the rule of a stored schedule. Raises :exc:`InvalidSchedule`."""
    return rule(cron=schedule.cron, every=schedule.every, timezone=schedule.timezone)


def set_out(schedule: Schedule, now: datetime) -> Schedule:
    """Return the schedule with its next time after ``now``: nothing before that is fired."""
    following = rule_of(schedule).after(now)
    due_at = None if schedule.paused_at else following
    return replace(schedule, next_at=following, due_at=due_at, buffered_at=None)


def run_of(
    engine: Engine,
    schedule: Schedule,
    nominal_at: datetime,
    *,
    last_at: datetime | None,
    id: UUID | None = None,
) -> NewRun:
    """Return the run of a nominal time, not yet stored."""
    following = upcoming(rule_of(schedule), nominal_at, UPCOMING)
    origin = FromSchedule(
        schedule=schedule.key,
        nominal_at=nominal_at.astimezone(UTC),
        last_at=None if last_at is None else last_at.astimezone(UTC),
        upcoming=tuple(following),
        timezone=schedule.timezone,
    )
    run_id = id or uuid5(schedule.id, nominal_at.astimezone(UTC).isoformat())
    definition = engine.task(schedule.task)
    if definition is None:  # a process may sweep that cannot import all tasks
        return NewRun(
            id=run_id,
            task=schedule.task,
            input=schedule.input,
            canvas=engine.canvas_of(schedule.task, None),
            max_crashes=engine.config.max_crashes,
            origin=encode_origin(engine.codec, origin),
            schedule=schedule.key,
        )
    args, kwargs = decode_input(engine, schedule.input)
    asked = Request(definition=definition, args=args, kwargs=kwargs, id=run_id, origin=origin)
    return new_run(engine, asked)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The nominal times to be judged now, the one after them, and from where on they count."""

    times: Sequence[datetime]
    next_at: datetime | None
    missed: tuple[datetime, datetime] | None


def _plan(schedule: Schedule, now: datetime) -> _Plan:
    first = schedule.next_at
    if first is None:
        return _Plan((), rule_of(schedule).after(now), None)
    if first > now:
        return _Plan((), first, None)
    found, missed = rule_of(schedule), None
    horizon = now - max(schedule.catch_up, GRACE)
    begin: datetime | None = first
    if first < horizon:
        begin = found.after(horizon - _MOMENT)
        missed = (first, horizon)
    times: list[datetime] = []
    while begin is not None and begin <= now and len(times) < AT_ONCE:
        times.append(begin)
        begin = found.after(begin)
    if schedule.overlap is Overlap.CANCEL:
        times = times[-1:]
    return _Plan(times, begin, missed)


def _fired(
    engine: Engine, schedule: Schedule, last: RunState | None, now: datetime
) -> ScheduleChange | None:
    if schedule.due_at is None or schedule.due_at > now:
        return None  # another sweep was here
    if schedule.paused_at is not None:
        return ScheduleChange(schedule=replace(schedule, due_at=None))
    plan = _plan(schedule, now)
    if plan.missed is not None:
        _log_missed(schedule, plan.missed)
    waiting = [] if schedule.buffered_at is None else [schedule.buffered_at]
    starts, buffered, left_out = _judge(schedule, [*waiting, *plan.times], last)
    if left_out:
        logger.info(
            "schedule %r: %d nominal times left out, the run before goes on", schedule.key, left_out
        )
    runs: list[NewRun] = []
    last_at = schedule.last_at
    for nominal_at in starts:
        runs.append(run_of(engine, schedule, nominal_at, last_at=last_at))
        last_at = nominal_at
    due_at = plan.next_at
    if buffered is not None:
        due_at = min(filter(None, (due_at, now + BUFFER_CHECK)))
    changed = replace(
        schedule,
        next_at=plan.next_at,
        last_at=last_at,
        last_run_id=runs[-1].id if runs else schedule.last_run_id,
        buffered_at=buffered,
        due_at=due_at,
    )
    return ScheduleChange(schedule=changed, runs=tuple(runs))


def _judge(
    schedule: Schedule, times: Sequence[datetime], last: RunState | None
) -> tuple[list[datetime], datetime | None, int]:
    """Return which of the times start a run, which waits, and how many are left out."""
    live = last is not None and not last.terminal
    starts: list[datetime] = []
    buffered: datetime | None = None
    for each in times:
        if not live or schedule.overlap in (Overlap.ALLOW, Overlap.CANCEL):
            starts.append(each)
            live = True
        elif schedule.overlap is Overlap.BUFFER and buffered is None:
            buffered = each
    return starts, buffered, len(times) - len(starts) - (buffered is not None)


def _log_missed(schedule: Schedule, missed: tuple[datetime, datetime]) -> None:
    first, horizon = missed
    found = islice(instants(rule_of(schedule), first), AT_ONCE)
    count = 1 + sum(1 for each in found if each < horizon)
    logger.warning(
        "schedule %r: nominal times from %s on were missed (%s) and are left out: they are later "
        "than its catch-up window of %s",
        schedule.key,
        first.astimezone(zone(schedule.timezone)).isoformat(),
        f"more than {AT_ONCE}" if count > AT_ONCE else count,
        max(schedule.catch_up, GRACE),
    )


def _buffered(schedule: Schedule, last: RunState | None, now: datetime) -> ScheduleChange | None:
    if schedule.due_at is None or schedule.due_at > now:
        return None
    return ScheduleChange(schedule=replace(schedule, due_at=now + LEFT_TO_OTHERS))
