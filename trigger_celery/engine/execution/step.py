"""One step, stage by stage: place, recall, admit, run, encode, record, notify, or fail.

A :class:`Step` is the value that goes through them. Each stage is written once; a ``def``
body goes through them in :func:`_carry_on`, an ``async def`` body in :func:`_carry_on_async`,
where the stages that may block run in the worker's own thread (``asgiref``): the engine,
Django's connection and its context variables live there.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import CoroutineType
from typing import Any, cast

from trigger_celery.body.awaitables import DurableCall
from trigger_celery.body.context import StepCall, step_key
from trigger_celery.declare.automatic import close_coroutines
from trigger_celery.engine import notifications
from trigger_celery.engine.execution import changes
from trigger_celery.engine.execution.retries import is_decided, is_retryable, retry_delay
from trigger_celery.engine.process.interrupts import is_awaited_failure, is_failure, of_step
from trigger_celery.engine.segment.effects import drive_async, in_thread
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import CallSite
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.engine.segment.timeouts import await_within, call_within
from trigger_celery.errors import (
    LeaseLost,
    TransactionOpen,
    Unwinding,
    UsageError,
)
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.news import Topic
from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, Holds, NewWait, StepKind


@dataclass(slots=True)
class Step:
    """One call on its way through the stages; ``number`` counts its attempts from 1."""

    segment: Segment
    call: StepCall
    site: CallSite
    number: int = 0
    meter: Meter = field(init=False)


def perform(segment: Segment, call: StepCall) -> Any:
    """Return the step's value, in an ``async def`` body an awaitable of it.

    It is the recorded one, or that of the step's body once it is recorded.
    """
    try:
        step = place(segment, call)
    except BaseException:
        close_coroutines(call.args, call.kwargs)
        raise
    if not segment.is_async:
        return _carry_on(step)
    under_way = segment.leaving.under_way(partial(_carry_on_async, step))
    coroutine = cast("CoroutineType[Any, Any, object]", under_way)
    coroutine.__qualname__ = call.name  # Python's "never awaited" warning shows it
    return DurableCall(coroutine)


def _carry_on(step: Step) -> object:
    if step.site.outcome is not None and step.site.outcome.value is not None:
        return recall(step)
    segment, call = step.segment, step.call
    try:
        if (backoff := segment.replay.backoff(step.site.key)) is not None:
            segment.leaving.leave([(None, backoff)])
        while True:
            if not admit(step):
                segment.leaving.leave([(None, _what(step))])
            try:
                if step.site.before:
                    segment.keep(step.site.before)
                if call.atomic:
                    return run_atomically(step)
                checkpoint, value = encode(step, _plain(step, run(step)))
                record(step, checkpoint)
                return value
            except Exception as error:
                then = fail(step, error)
            if isinstance(then, Exception):
                raise then
            if then > segment.engine.config.inline_backoff:
                wait = _backoff(step, then)
                segment.leaving.leave([(wait, wait.key)])
            segment.engine.clock.sleep(then.total_seconds())
    except Unwinding as reason:
        close_coroutines(call.args, call.kwargs)
        if isinstance(reason, LeaseLost):
            segment.leaving.unwind(reason)
        raise


async def _carry_on_async(step: Step) -> object:
    if step.site.outcome is not None and step.site.outcome.value is not None:
        return recall(step)
    segment, call = step.segment, step.call
    try:
        if (backoff := segment.replay.backoff(step.site.key)) is not None:
            await drive_async(segment.leaving.park(None, backoff))
        while True:
            if not admit(step):
                await drive_async(segment.leaving.park(None, _what(step)))
            try:
                if step.site.before:
                    await in_thread(segment.keep, step.site.before)
                if call.atomic:
                    return await _apart(run_atomically, step)
                value = await (run_async(step) if call.is_async else _run_apart(step))
                checkpoint, value = encode(step, value)
                await in_thread(record, step, checkpoint)
                return value
            except Exception as error:
                then = await in_thread(fail, step, error)
            if isinstance(then, Exception):
                raise then
            if then > segment.engine.config.inline_backoff:
                wait = _backoff(step, then)
                await drive_async(segment.leaving.park(wait, wait.key))
            await asyncio.sleep(then.total_seconds())
    except Unwinding:
        close_coroutines(call.args, call.kwargs)
        raise


def place(segment: Segment, call: StepCall) -> Step:
    """Give the call its key, and find what is recorded under it."""
    segment.leaving.raise_if_left()
    site = segment.replay.place(call.name, call.kind, call.key)
    return Step(segment, call, site, segment.replay.failures(site.key))


def recall(step: Step) -> object:
    """Return the recorded value, or raise the recorded failure."""
    close_coroutines(step.call.args, step.call.kwargs)
    outcome = step.site.outcome
    assert outcome is not None
    assert outcome.value is not None
    if outcome.error is None:
        return step.segment.decode(outcome.value)
    failed = step.segment.failures.replayed(outcome, step.number)
    step.site.scope.failed.append(failed)
    raise failed.error


def admit(step: Step) -> bool:
    """Begin an attempt; False if the run is to be handed back instead.

    Raises ``LeaseLost``, what the body is being left for, and ``TransactionOpen``.
    """
    if not step.segment.may_go_on(_what(step)):
        return False
    step.number += 1
    step.meter = step.segment.meter()
    return True


def run(step: Step) -> object:
    """Call the step's body, a plain function."""
    segment, call, key = step.segment, step.call, step.site.key
    if segment.is_async:  # the loop may have left the body since the attempt began
        segment.leaving.raise_again()
    watch = changes.of_arguments(segment, call) if segment.watches else None
    within = step_key.set(key)
    try:
        with step.meter:
            if call.timeout is None:
                value = call.fn(*call.args, **call.kwargs)
            else:
                body = partial(call.fn, *call.args, **call.kwargs)
                value = call_within(call.timeout, body, segment.held, key)
    except BaseException as error:
        if isinstance(error, Exception) or not is_failure(error):
            raise
        raise of_step(error) from error
    finally:
        step_key.reset(within)
    if not call.atomic:
        segment.store.check_boundary(f"the end of step {key!r}")
    if watch is not None:
        changes.warn_of_arguments(watch, segment, call)
    return value


async def run_async(step: Step) -> object:
    """Await the step's body, a coroutine function."""
    call, key = step.call, step.site.key
    step.segment.leaving.raise_again()
    watch = changes.of_arguments(step.segment, call) if step.segment.watches else None
    within = step_key.set(key)
    try:
        with step.meter:
            started = cast("Coroutine[object, object, object]", call.fn(*call.args, **call.kwargs))
            if call.timeout is not None:
                value = await await_within(call.timeout, started, key)
            else:
                value = await started
    except BaseException as error:
        if isinstance(error, Exception) or not is_awaited_failure(error):
            raise
        raise of_step(error) from error
    finally:
        step_key.reset(within)
    if watch is not None:
        changes.warn_of_arguments(watch, step.segment, call)
    return value


async def _apart(fn: Callable[[Step], object], step: Step) -> object:
    """Call what runs the step's body in the worker's thread.

    If the body of the run gives up meanwhile, that thread goes on in the step, the body does not.
    """
    try:
        return await in_thread(fn, step)
    finally:
        step_key.set(None)


async def _run_apart(step: Step) -> object:
    value = await _apart(run, step)
    return await value if inspect.isawaitable(value) else value


def _plain(step: Step, value: object) -> object:
    """Return what a ``def`` body can take: it cannot await anything."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise UsageError(
            f"step {step.call.name!r} is async but was called by a plain def task: make the task "
            "an async def and await the step"
        )
    return value


def encode(step: Step, value: object) -> tuple[Checkpoint, object]:
    """Return the checkpoint of a value, and the value as every replay will see it."""
    segment, call, key = step.segment, step.call, step.site.key
    text = segment.engine.codec.encode(value, what=f"the result of step {key!r}")
    checkpoint = Checkpoint(
        key=key,
        kind=call.kind,
        value=text,
        position=step.site.position,
        attempt=step.number,
        span=step.meter.span(worker=segment.worker, source=call.source),
        token=new_token(),
    )
    return checkpoint, segment.decode(text)  # what cannot be read back is not recorded


def record(step: Step, checkpoint: Checkpoint) -> None:
    """Store the checkpoint with a statement of its own."""
    step.segment.record(checkpoint)
    notify(step)


def run_atomically(step: Step) -> object:
    """Run the body and store its value in one transaction; run both again if it was lost.

    When the answer to the commit is lost, the stored checkpoint says whether it happened.
    """
    segment = step.segment

    def attempt(again: bool) -> object:
        stored = _stored_value(step) if again else None
        if stored is not None:
            return segment.decode(stored)
        with segment.store.atomic():
            checkpoint, value = encode(step, run(step))
            segment.store.checkpoints.record(segment.lease, checkpoint)
        return value

    value = segment.held.outlast(partial(segment.engine.resolve, attempt))
    notify(step)
    return value


def notify(step: Step) -> None:
    """Send the signal of a recorded step, if anything receives it."""
    engine = step.segment.engine
    if engine.listeners.wants(Topic.STEP_COMPLETED):
        notifications.step_completed(engine, step.segment.run, step.site.key, step.number)


def fail(step: Step, error: Exception) -> timedelta | Exception:
    """Record a failed attempt; return how long to wait before the next, or what the body gets."""
    segment, call = step.segment, step.call
    if isinstance(error, TransactionOpen):
        return error  # nothing can be recorded before the author's transaction ends
    attempt = FailedAttempt(
        key=step.site.key,
        kind=call.kind,
        position=step.site.position,
        run_attempt=segment.run.attempt,
        number=step.number,
        error=to_text(describe(error)),
        span=step.meter.span(worker=segment.worker, source=call.source),
    )
    failed = None
    used_up = call.retry is not None and step.number >= call.retry.max_attempts
    decided = is_decided(error)  # self.retry() is about the run, whatever the step's policy
    if call.retry is None or used_up or decided or not is_retryable(error):
        holds = Holds.LIFE if used_up and not decided else Holds.ATTEMPT
        attempt, failed = segment.failures.hold(attempt, error, holds)
    segment.leaving.raise_again()
    segment.held.write(segment.patient.checkpoints.record_failure, attempt)
    notifications.step_failed(segment.engine, segment.run, attempt.key, attempt.number, error)
    if failed is None:
        assert call.retry is not None
        return retry_delay(call.retry, step.number, error)
    segment.failures.met(failed)
    step.site.scope.failed.append(failed)
    return failed.error


def _backoff(step: Step, delay: timedelta) -> NewWait:
    return NewWait(
        key=step_keys.backoff_of_step(step.segment.lease.fence, step.site.key),
        kind=StepKind.RETRY,
        position=step.site.position,
        delay=delay,
        source=step.call.source,
    )


def _stored_value(step: Step) -> str | None:
    """Return the stored value of the step if its checkpoint is there."""
    run = step.segment.run
    outcomes = step.segment.patient.checkpoints.load(run.id, run_attempt=run.attempt)
    outcome = outcomes.recorded.get(step.site.key)
    return None if outcome is None or outcome.error is not None else outcome.value


def _what(step: Step) -> str:
    return f"step {step.site.key!r}"
