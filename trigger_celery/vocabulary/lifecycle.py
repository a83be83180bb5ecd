"""The transitions of a run: pure functions from one record to the next.

The stores in memory and on every database without statements of its own call them; the
statements of PostgreSQL are compared with them by the store's contract. ``now`` is the
database's time, and ``nudge_interval`` how long the sweep gives a first nudge to arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from trigger_celery.errors import IllegalTransition
from trigger_celery.vocabulary.records import Cause, Claim, Ending, NewRun, PushBack, Run, RunSpec
from trigger_celery.vocabulary.states import UNSUCCESSFUL, RunState, check_transition

LONGEST_PAUSE = timedelta(minutes=2)
"""The longest delay after a crash, and the longest pause between two nudges."""

EARLIEST, LATEST = datetime(1000, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The first and the last place in line."""

_SPEC = tuple(field.name for field in fields(RunSpec))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedEnd:
    """An end that no worker decided; ``verb`` is what the run's history calls it."""

    state: RunState
    verb: str
    error: str
    cause: Cause


def line_at(available_at: datetime, priority: int) -> datetime:
    """Return the place in line of a run: when it may start, earlier by its priority in seconds.

    It is a time that every database can hold.
    """
    try:
        place = available_at - timedelta(seconds=priority)
    except OverflowError:
        place = EARLIEST if priority > 0 else LATEST
    return min(max(place, EARLIEST), LATEST)


def create(
    new: NewRun,
    now: datetime,
    *,
    nudge_interval: timedelta,
    last_event: int = 0,
    limited: bool = False,
) -> Run:
    """Return the run as it is queued first; ``last_event`` is the highest sequence in sight.

    If its queues are ``limited`` and it may start now, an admission gives it its first nudge:
    the sweep has nothing to look at.
    """
    available_at = new.available_at or now + new.delay
    waits = limited and available_at <= now
    return Run(
        spec=RunSpec(**{name: getattr(new, name) for name in _SPEC}),
        event_cut=last_event if new.event_cut is None else new.event_cut,
        created_at=now,
        available_at=available_at,
        line_at=line_at(available_at, new.priority),
        due_at=None if waits else first_nudge(available_at, now, nudge_interval),
        deadline_at=_first_deadline(new, available_at, now),
    )


def _first_deadline(new: NewRun, available_at: datetime, now: datetime) -> datetime | None:
    if new.expires_at is not None or new.ttl is None:
        return new.expires_at
    return max(available_at, now) + new.ttl


def first_nudge(available_at: datetime, now: datetime, nudge_interval: timedelta) -> datetime:
    """Return when the sweep looks at a queued run: when it becomes available, if that is later.

    A run that is available now was nudged by what queued it, and that nudge needs time.
    """
    return available_at if available_at > now else now + nudge_interval


def may_start(run: Run, now: datetime) -> bool:
    """Whether a queued run may be claimed to be executed.

    One without a delay compares no clock, which may have been set back since it was queued.
    """
    alive = run.deadline_at is None or run.deadline_at > now
    return alive and run.paused_at is None and (not is_delayed(run) or run.available_at <= now)


def is_delayed(run: Run) -> bool:
    """Whether a queued run was to start later: it is due at its start, any other after that."""
    return run.due_at is not None and run.due_at <= run.available_at


def may_publish(run: Run, now: datetime) -> bool:
    """Whether the callbacks of an ended run are owed, and no worker has the right to publish.

    The sweep takes that right from a silent worker by clearing ``worker``; its nudge must
    be claimable although ``due_at`` then says when the next nudge is sent.
    """
    if not run.state.terminal or run.published_at is not None:
        return False
    return not run.worker or (run.due_at or now) <= now


def claim(run: Run, asked: Claim, now: datetime) -> Run:
    """Return the run as its worker executes it; the time to live ends with the first start."""
    check_transition(run.state, RunState.EXECUTING)
    limit = run.spec.max_duration
    keeps = run.started_at is not None and run.deadline_at is not None
    started = replace(
        run,
        state=RunState.EXECUTING,
        version=asked.version,
        started_at=run.started_at or now,
        deadline_at=run.deadline_at if keeps else None if limit is None else now + limit,
    )
    return _own(started, asked, now)


def claim_to_publish(run: Run, asked: Claim, now: datetime) -> Run:
    """Return an ended run as the worker has it that publishes its end."""
    return _own(run, asked, now)


def _own(run: Run, asked: Claim, now: datetime) -> Run:
    return replace(run, fence=run.fence + 1, worker=asked.worker, due_at=now + asked.length)


def suspend(
    run: Run,
    now: datetime,
    *,
    next_attempt: int,
    first_due: datetime | None,
    look_within: timedelta | None,
) -> Run:
    """Return the run as it waits; ``first_due`` is when the first of its waits ends by itself.

    ``look_within`` is how long its worker has to compare stored events with the waits before
    a sweep does that in its place; None if no wait needs it. Until then no wait times out.
    """
    check_transition(run.state, RunState.SUSPENDED)
    due_at = first_due if look_within is None else now + look_within
    return replace(run, state=RunState.SUSPENDED, attempt=next_attempt, crashes=0, due_at=due_at)


def queue(
    run: Run, now: datetime, *, nudge_interval: timedelta, delay: timedelta = timedelta(0)
) -> Run:
    """Return the run as it may be claimed after ``delay``: woken, handed back, or recovered."""
    check_transition(run.state, RunState.QUEUED)
    available_at = now + delay
    return replace(
        run,
        state=RunState.QUEUED,
        worker="",
        available_at=available_at,
        due_at=first_nudge(available_at, now, nudge_interval),
    )


def end(run: Run, ending: Ending, now: datetime) -> Run:
    """Return the run as its worker ended it, which publishes the end next."""
    check_end(ending.state)
    ended = _finish(run, ending.state, now, error=ending.error)
    publish_by = now + ending.publish_within
    return replace(
        ended,
        worker=run.worker,
        output=ending.output,
        published_at=None if ending.publish else now,
        due_at=publish_by if ending.publish else None,
    )


def check_end(state: RunState) -> None:
    """Raise ``IllegalTransition`` unless a worker may end its run so."""
    check_transition(RunState.EXECUTING, state)
    if not state.terminal:
        raise IllegalTransition(f"a run cannot end as {state}")


def publish(run: Run, now: datetime) -> Run:
    """Return an ended run whose result and callbacks are out."""
    return replace(run, published_at=now, due_at=None)


def cancel(run: Run, now: datetime, *, error: str, nudged_within: timedelta = timedelta(0)) -> Run:
    """Return the canceled run; a sweep nudges it unless it is published ``nudged_within``."""
    canceled = _finish(run, RunState.CANCELED, now, error=error)
    return replace(canceled, due_at=now + nudged_within)


def force_end(run: Run, ended: ForcedEnd, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return the run as a sweep ends it; its nudge is published with that sweep."""
    forced = _finish(run, ended.state, now, error=ended.error)
    return replace(forced, due_at=now + nudge_interval)


def _finish(run: Run, state: RunState, now: datetime, *, error: str | None) -> Run:
    check_transition(run.state, state)
    return replace(
        run,
        state=state,
        worker="",
        error=error,
        finished_at=now,
        published_at=None,
        deadline_at=None,
    )


def crash(
    run: Run,
    now: datetime,
    *,
    nudge_interval: timedelta,
    give_up: Callable[[int], ForcedEnd],
) -> tuple[Run, ForcedEnd | None]:
    """Return the run that lost its worker: queued again, later each time, or ended for good.

    ``give_up`` says how a run ends that crashed so many times.
    """
    crashed = replace(run, crashes=run.crashes + 1)
    if crashed.crashes >= run.spec.max_crashes:
        ended = give_up(crashed.crashes)
        return force_end(crashed, ended, now, nudge_interval=nudge_interval), ended
    delay = crash_delay(crashed.crashes)
    return queue(crashed, now, nudge_interval=nudge_interval, delay=delay), None


def crash_delay(crashes: int) -> timedelta:
    """Return how long a run waits after so many crashes: not at all, then 4 s, 8 s, ... 2 min."""
    seconds = 0 if crashes == 1 else 2 ** min(crashes, 10)
    return min(timedelta(seconds=seconds), LONGEST_PAUSE)


def hand_over_publishing(run: Run, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return an ended run whose publisher died: any worker may publish it now."""
    return replace(run, worker="", due_at=now + nudge_interval)


def retry(run: Run, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return a failed or timed-out run as it starts its next life, with its checkpoints."""
    if run.state not in UNSUCCESSFUL:
        raise IllegalTransition(
            f"run {run.id} is {run.state}: only failed and timed-out runs are retried"
        )
    queued = queue(run, now, nudge_interval=nudge_interval)
    return replace(
        queued,
        attempt=1,
        attempts_after_fence=run.fence,
        crashes=0,
        error=None,
        finished_at=None,
        published_at=None,
        paused_at=None,
    )


def nudge_again(run: Run, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return a queued or unpublished run that a sweep has just nudged.

    Without a worker an ended run may be published by any, though it is not due.
    """
    return replace(run, worker="", due_at=now + nudge_pause(run, now, nudge_interval))


def is_unclaimed(run: Run) -> bool:
    """Whether a run is queued and was nudged: its ``due_at`` is when that should have worked.

    That of a run which starts later is its start.
    """
    return run.state is RunState.QUEUED and run.due_at is not None and run.due_at > run.available_at


def is_nudge_lost(
    due_at: datetime, *, reached: datetime | None, passed: datetime | None, backlog: int | None
) -> bool:
    """Whether the nudge that a queued run was due to answer is likely lost, not only waiting.

    It is if messages behind it were received: ``reached`` is the latest time at which a run
    of the same task and route became available that was claimed lately, ``passed`` that of any
    task on the route (a limit of its task may hold this one back, so that counts later). It is
    if no messages wait there; and where ``backlog``, their number, is not known (None), if
    nothing was claimed.
    """
    if reached is not None and reached >= due_at:
        return True
    if passed is not None and passed >= due_at + LONGEST_PAUSE:
        return True
    return backlog == 0 or (backlog is None and reached is None)


def nudge_pause(run: Run, now: datetime, nudge_interval: timedelta) -> timedelta:
    """Return how long to wait until the next nudge: about as long as it took so far.

    Rounded up to doublings of the interval, so that runs of a backlog share few values.
    """
    age = now - (run.finished_at or run.available_at)
    pause = nudge_interval
    while pause < min(age, LONGEST_PAUSE):
        pause *= 2
    return max(nudge_interval, min(pause, LONGEST_PAUSE))


def pause(run: Run, now: datetime) -> Run:
    """Return the run as a person holds it; a queued one is not due before it is resumed.

    Only one that was to start later keeps a start after ``paused_at``.
    """
    if run.state.terminal:
        raise IllegalTransition(f"run {run.id} is {run.state}: it has ended")
    if run.state is not RunState.QUEUED:
        return replace(run, paused_at=now)
    start = run.available_at if is_delayed(run) else min(run.available_at, now)
    return replace(run, paused_at=now, available_at=start, due_at=None)


def resume(run: Run, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return a paused run as it goes on."""
    if run.state is not RunState.QUEUED or run.paused_at is None:
        return replace(run, paused_at=None)
    start = run.available_at
    if start <= run.paused_at:  # it has no delay, wherever the clock was set since
        start = min(start, now)
    due_at = first_nudge(start, now, nudge_interval)
    return replace(run, paused_at=None, available_at=start, due_at=due_at)


def reschedule(run: Run, start: datetime, now: datetime, *, nudge_interval: timedelta) -> Run:
    """Return a delayed run that starts at another time; its time to live moves along."""
    if run.state is not RunState.QUEUED or run.started_at or run.available_at <= now:
        raise IllegalTransition(
            f"run {run.id} is {run.state}: only a delayed run whose time has not come "
            "can be rescheduled"
        )
    due_at = None if run.paused_at else first_nudge(start, now, nudge_interval)
    return replace(_move_start(run, start), due_at=due_at)


def is_unstarted(run: Run) -> bool:
    """Whether a run is queued and no worker ever started it."""
    return run.state is RunState.QUEUED and run.started_at is None


def push_back(run: Run, push: PushBack, now: datetime) -> Run | None:
    """Return a run that starts later than it was to; None if it was started, or waited enough."""
    start = now + push.delay
    latest = None if push.max_delay is None else run.created_at + push.max_delay
    if not is_unstarted(run) or (latest is not None and start > latest):
        return None
    pushed = replace(_move_start(run, start), due_at=start)
    if not push.replace:
        return pushed
    spec = replace(run.spec, input=push.input, tags=push.tags, metadata=push.metadata)
    return replace(pushed, spec=spec)


def _move_start(run: Run, start: datetime) -> Run:
    deadline_at = run.deadline_at
    if deadline_at is not None:
        deadline_at += start - run.available_at
    return replace(
        run,
        available_at=start,
        line_at=line_at(start, run.spec.priority),
        deadline_at=deadline_at,
    )
