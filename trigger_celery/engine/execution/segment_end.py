"""How a segment ends: each way out of a body becomes one write of the store."""

from __future__ import annotations

import inspect
import logging
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.hooks import Caught
from trigger_celery.engine import notifications
from trigger_celery.engine.execution import hooks
from trigger_celery.engine.execution.retries import next_try, replaced
from trigger_celery.engine.segment.failures import Failed
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.outcome import Executed, Finished, Left
from trigger_celery.engine.segment.segment import Segment, end_transactions
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.values.failures import cause_of, describe, to_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import (
    LOOKED_FOR,
    Ending,
    FailedAttempt,
    Holds,
    NewWait,
    Nudge,
    Run,
    StepKind,
    Suspend,
)
from trigger_celery.vocabulary.states import RunState

logger = logging.getLogger("trigger_celery.run")

LOOK_WITHIN = timedelta(seconds=5)
PUBLISH_WITHIN = timedelta(seconds=30)
FINAL_NOTE = (
    "This failure is final: the body went on after step {key!r} had failed, so no attempt of this "
    "run tries that step again. To try it again, fork the run from that step."
)


def completed(segment: Segment, value: object, *, publish: bool) -> Executed:
    """Store the result; the run has succeeded. Raises the codec's errors."""
    if inspect.iscoroutine(value):
        value.close()
    text = segment.engine.codec.encode(value, what=f"the result of task {segment.run.task!r}")
    stored = segment.decode(text)  # before the end: it may be refused, and then the run fails
    ending = Ending(
        state=RunState.COMPLETED,
        token=new_token(),
        output=text,
        resolves=_resolved(segment.run),
        publish=publish,
        publish_within=PUBLISH_WITHIN,
    )
    _end(segment, ending)
    return Finished(
        run=segment.run,
        lease=segment.lease,
        state=RunState.COMPLETED,
        value=stored,
        output=text,
        owed=publish,
    )


def _resolved(run: Run) -> tuple[UUID, ...]:
    """Return of which runs the dead letters were retried by this one; of none for nearly all."""
    own = (run.id,) if run.attempts_after_fence else ()
    return own if run.spec.copied_from_id is None else (*own, run.spec.copied_from_id)


def suspended(segment: Segment, task: TaskDefinition) -> Executed:
    """Store the suspension, then look once for events that were there before it."""
    if segment.leaving.handing_back:
        nudge = segment.held.write(segment.patient.runs.hand_back, new_token())
        segment.engine.dispatcher.nudge([nudge])
        return Left(reason="handed back", run=segment.run, state=RunState.QUEUED)
    hooks.waiting(segment, task)
    suspend = Suspend(
        waits=tuple(segment.leaving.waits),
        keys=tuple(segment.leaving.keys),
        next_attempt=segment.run.attempt,
        token=new_token(),
    )
    state = _suspend(segment, suspend)
    notifications.suspended(segment.engine, segment.run, state, segment.leaving.keys)
    if state is RunState.SUSPENDED and any(w.kind in LOOKED_FOR for w in segment.leaving.waits):
        _look_back(segment)
    retrying = any(wait.kind is StepKind.RETRY for wait in segment.leaving.waits)
    return Left(reason="retrying" if retrying else "suspended", run=segment.run, state=state)


def _look_back(segment: Segment) -> None:
    try:
        look_back(segment.engine, segment.lease)
    except Exception:  # the suspension is stored: the sweep looks in our place
        logger.exception("run %s: the look-back at stored events failed", segment.run.id)


def failed(
    segment: Segment, error: Exception, task: TaskDefinition, meter: Meter, *, publish: bool
) -> Executed:
    """Store the failure of the body: one more attempt later, or the end and a dead letter."""
    error = segment.failures.unwrapped(error)
    end_transactions(segment.store)
    decided = hooks.catch_error(segment, task, error)
    behind = segment.failures.behind(error)
    error = replaced(error, decided)
    is_last = behind is not None and _is_last(error, behind)
    failure = segment.failures.described(error, describe(error))
    attempt = FailedAttempt(
        key="",
        run_attempt=segment.run.attempt,
        number=segment.run.attempt,
        error=to_text(failure),
        span=meter.span(worker=segment.worker, source=""),
    )
    again = None if is_last else _next_try(segment, task, error, decided)
    if again is not None:
        return _retry_later(segment, attempt, again, error, failure.kind)
    ending = Ending(
        state=RunState.FAILED,
        token=new_token(),
        error=attempt.error,
        cause=cause_of(failure, step="" if behind is None else behind.key),
        publish=publish,
        publish_within=PUBLISH_WITHIN,
        failed=attempt,
    )
    _end(segment, ending)
    return Finished(
        run=segment.run,
        lease=segment.lease,
        state=RunState.FAILED,
        error=error,
        kind=failure.kind,
        owed=publish,
    )


def _next_try(
    segment: Segment, task: TaskDefinition, error: Exception, decided: Caught
) -> timedelta | datetime | None:
    default = segment.engine.config.default_retry
    return next_try(segment.run, task, error, decided, default=default)


def _is_last(error: Exception, behind: Failed) -> bool:
    """Whether the failure of a step ends the run with ``error``; one that is final says so."""
    if behind.holds is Holds.ALWAYS:
        error.add_note(FINAL_NOTE.format(key=behind.key))
    return behind.holds in (Holds.LIFE, Holds.ALWAYS)


def _retry_later(
    segment: Segment,
    attempt: FailedAttempt,
    again: timedelta | datetime,
    error: Exception,
    kind: str,
) -> Left:
    delay = again if isinstance(again, timedelta) else None
    wait = NewWait(
        key=step_keys.backoff_of_run(segment.lease.fence),
        kind=StepKind.RETRY,
        position=0,
        delay=delay,
        until=again if isinstance(again, datetime) else None,
    )
    suspend = Suspend(
        waits=(wait,),
        keys=(wait.key,),
        next_attempt=segment.run.attempt + 1,
        token=new_token(),
        failed=attempt,
    )
    state = _suspend(segment, suspend)
    notifications.retrying(segment.engine, segment.run, state, kind, delay)
    return Left(reason="retrying", run=segment.run, state=state, error=error, again=again)


def _suspend(segment: Segment, suspend: Suspend) -> RunState:
    state = segment.held.write(segment.patient.waits.suspend, suspend, look_within=LOOK_WITHIN)
    if state is RunState.QUEUED:  # something it waits for has ended meanwhile
        run = segment.run
        nudge = Nudge(run_id=run.id, task=run.task, canvas=run.spec.canvas)
        segment.engine.dispatcher.nudge([nudge])
    return state


def _end(segment: Segment, ending: Ending) -> None:
    segment.held.write(segment.patient.runs.end, ending)
