"""One step: recall it, or run its body until it succeeds and record what it returned."""

from __future__ import annotations

from functools import partial

from trigger_celery.body.context import StepCall
from trigger_celery.declare.automatic import close_coroutines
from trigger_celery.engine import notifications
from trigger_celery.engine.execution.retries import is_retryable, retry_delay
from trigger_celery.engine.segment.effects import Body, Io, Pause, Routine
from trigger_celery.engine.segment.metering import Meter
from trigger_celery.engine.segment.replay import Slot
from trigger_celery.engine.segment.segment import Segment
from trigger_celery.errors import StoreUnavailable, TransactionOpen, Unwinding
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary import step_keys
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Checkpoint, FailedAttempt, NewWait, Span, StepKind


def perform(segment: Segment, call: StepCall, slot: Slot) -> Routine[object]:
    """Return the step's value: the recorded one, or that of its body once it is recorded."""
    if slot.outcome is not None and slot.outcome.value is not None:
        close_coroutines(call.args, call.kwargs)
        return segment.decode(slot.outcome.value)
    try:
        return (yield from _attempts(segment, call, slot))
    except Unwinding:
        close_coroutines(call.args, call.kwargs)
        raise


def _attempts(segment: Segment, call: StepCall, slot: Slot) -> Routine[object]:
    backoff = segment.replay.backoff(slot.key)
    if backoff is not None:
        yield from segment.park(None, backoff)
    number = segment.replay.failures(slot.key)
    while True:
        number += 1
        yield from segment.check(f"step {slot.key!r}")
        meter = segment.meter()
        try:
            if call.atomic:
                value = yield Io(partial(_atomically, segment, call, slot, number, meter))
            else:
                value = yield from _body(segment, call, slot, number, meter)
        except Exception as error:
            span = meter.span(worker=segment.worker, source=call.source)
            yield from _failed(segment, call, slot, number, error, span)
        else:
            return value


def _body(
    segment: Segment, call: StepCall, slot: Slot, number: int, meter: Meter
) -> Routine[object]:
    """Run the body, then store its value with a statement of its own."""
    value = yield Body(call.name, partial(segment.run_body, call, slot.key, meter), call.is_async)
    checkpoint = _checkpoint(segment, call, slot, number, meter, value)
    stored = segment.decode(checkpoint.value)  # what cannot be read back is not recorded
    yield Io(partial(_record, segment, checkpoint))
    return stored


def _record(segment: Segment, checkpoint: Checkpoint) -> None:
    segment.record(checkpoint)
    notifications.step_completed(segment.engine, segment.run, checkpoint.key, checkpoint.attempt)


def _record_failure(segment: Segment, failed: FailedAttempt, error: Exception) -> None:
    segment.record_failure(failed)
    notifications.step_failed(segment.engine, segment.run, failed.key, failed.number, error)


def _atomically(segment: Segment, call: StepCall, slot: Slot, number: int, meter: Meter) -> object:
    """Run the body and store its value in one transaction; run both again if it was lost.

    When the answer to the commit is lost, the stored checkpoint says whether it happened.
    """

    def attempt() -> object:
        try:
            with segment.store.atomic():
                value = segment.run_body(call, slot.key, meter)
                checkpoint = _checkpoint(segment, call, slot, number, meter, value)
                value = segment.decode(checkpoint.value)
                segment.store.checkpoints.record(segment.lease, checkpoint)
        except StoreUnavailable:
            stored = segment.stored_value(slot.key)
            if stored is None:
                raise
            return segment.decode(stored)
        return value

    value = segment.guarded(partial(segment.engine.persist, attempt))
    notifications.step_completed(segment.engine, segment.run, slot.key, number)
    return value


def _checkpoint(
    segment: Segment, call: StepCall, slot: Slot, number: int, meter: Meter, value: object
) -> Checkpoint:
    return Checkpoint(
        key=slot.key,
        kind=call.kind,
        value=segment.engine.codec.encode(value, what=f"the result of step {slot.key!r}"),
        position=slot.position,
        attempt=number,
        span=meter.span(worker=segment.worker, source=call.source),
        token=new_token(),
    )


def _failed(
    segment: Segment, call: StepCall, slot: Slot, number: int, error: Exception, span: Span
) -> Routine[None]:
    """Record the failure; return to try again, suspend for a long backoff, or raise it."""
    if isinstance(error, TransactionOpen):
        raise error  # nothing can be recorded before the author's transaction ends
    failed = FailedAttempt(
        key=slot.key,
        run_attempt=segment.run.attempt,
        number=number,
        error=to_text(describe(error)),
        span=span,
    )
    yield Io(partial(_record_failure, segment, failed, error))
    if not is_retryable(error) or number >= call.retry.max_attempts:
        raise error
    delay = retry_delay(call.retry, number, error)
    if delay <= segment.engine.config.inline_backoff:
        yield Pause(delay.total_seconds())
        return
    wait = NewWait(
        key=step_keys.backoff_of_step(segment.lease.fence, slot.key),
        kind=StepKind.RETRY,
        position=slot.position,
        delay=delay,
        source=call.source,
    )
    yield from segment.park(wait, wait.key)
