"""Executes a run: claim, replay, body, end. One pass is one segment."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery.body.context import step_key
from trigger_celery.body.threads import executing
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution import hooks, segment_end
from trigger_celery.engine.execution.body_session import BodySession
from trigger_celery.engine.process.interrupts import is_failure, of_body
from trigger_celery.engine.process.leases import Holding
from trigger_celery.engine.process.patience import worker_patience
from trigger_celery.engine.queues import admission
from trigger_celery.engine.queues.declarations import remember_limits
from trigger_celery.engine.runs.consequences import of_end_here
from trigger_celery.engine.runs.trigger import decode_input
from trigger_celery.engine.segment.outcome import (
    NOT_CLAIMED,
    Executed,
    Finished,
    Left,
    stored_outcome,
)
from trigger_celery.engine.segment.replay import Replay
from trigger_celery.engine.segment.segment import Segment, swallowed
from trigger_celery.errors import LeaseLost, StoreUnavailable, Unwinding
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import Claim, Claimed, Outcomes, Run

logger = logging.getLogger("trigger_celery.run")

Body = Callable[..., Any]


@worker_patience()
def execute(
    engine: Engine,
    run_id: UUID,
    definition: TaskDefinition,
    *,
    body: Body | None = None,
    publish: Callable[[Run], bool] = lambda run: False,
) -> Executed:
    """Take a run if it may be taken, and carry it as far as it goes.

    ``body`` stands in for the definition's (it is called with the run's arguments).
    ``publish`` says whether the end of the run has to be recorded with :func:`published`
    after its result and callbacks are out.
    """
    claim = Claim(
        run_id=run_id,
        task=definition.name,
        worker=engine.worker(),
        version=definition.version.digest,
        length=definition.heartbeat_timeout or engine.config.heartbeat_timeout,
        token=new_token(),
    )
    _prepare(engine, definition)
    sent_at = engine.clock.monotonic()
    claimed = engine.patient.runs.claim(claim)
    if claimed is None:
        return NOT_CLAIMED
    if claimed.publishing:
        return _ended(engine, definition, _stored_end(engine, claimed), is_new=False)
    try:
        with engine.leases.holding(claimed.lease, claim.length, sent_at=sent_at) as held:
            executed = _carry(engine, claimed, held, definition, body or definition.body, publish)
    finally:  # before the end is published: that may take time, and others wait
        admission.left(engine, claimed, since=sent_at)
    return _ended(engine, definition, executed) if isinstance(executed, Finished) else executed


def _carry(
    engine: Engine,
    claimed: Claimed,
    held: Holding,
    definition: TaskDefinition,
    body: Body,
    publish: Callable[[Run], bool],
) -> Executed:
    """Run the body as far as it goes, and store what came of it."""
    owed = publish(claimed.run) or bool(claimed.run.spec.parent_key) or hooks.owed(definition)
    try:
        segment = _segment(engine, claimed, held, definition)
        return _run(segment, definition, body, publish=owed)
    except LeaseLost as lost:
        logger.warning("run %s: %s; its result was dropped", claimed.run.id, lost)
        return Left(reason="lease lost", run=claimed.run)


def _stored_end(engine: Engine, claimed: Claimed) -> Finished:
    text = claimed.run.output
    return stored_outcome(claimed, None if text is None else engine.codec.decode(text))


def _ended(
    engine: Engine, definition: TaskDefinition, finished: Finished, *, is_new: bool = True
) -> Finished:
    of_end_here(
        engine,
        finished.run,
        finished.state,
        call_hooks=partial(hooks.ended, engine, definition, finished),
        is_new=is_new,
        error=finished.kind,
    )
    return finished


@worker_patience()
def published(engine: Engine, executed: Executed) -> None:
    """Note that result and callbacks of a finished run are out."""
    if not isinstance(executed, Left) and executed.owed:
        engine.patient.runs.published(executed.lease)


def _segment(
    engine: Engine, claimed: Claimed, held: Holding, definition: TaskDefinition
) -> Segment:
    outcomes = Outcomes()
    if claimed.replayed:
        try:
            outcomes = engine.patient.checkpoints.load(
                claimed.run.id, run_attempt=claimed.run.attempt
            )
        except StoreUnavailable as error:
            raise LeaseLost(f"the database stayed away: {error}") from error
    replay = Replay(outcomes, step_limit=engine.config.step_limit)
    return Segment(
        engine,
        claimed,
        held,
        replay,
        is_async=definition.is_async,
        is_rewritten=definition.body is not definition.fn,
    )


def _run(segment: Segment, definition: TaskDefinition, body: Body, *, publish: bool) -> Executed:
    hooks.entering(segment, definition)
    meter = segment.meter()
    try:
        # In a copy of the context: what a body sets must not reach the worker's next task.
        with meter:
            value = copy_context().run(_call, segment, body)
        if segment.leaving.reason is None:
            segment.replay.check_use()
            segment.store.check_boundary(f"the end of task {segment.run.task!r}")
            return segment_end.completed(segment, value, publish=publish)
        if segment.leaving.left_main_line:
            raise swallowed(segment, segment.leaving.keys)
        return _leave(segment, definition)
    except Unwinding:
        return _leave(segment, definition)
    except BaseException as error:
        failure = _failure_in(segment, error)
        if failure is None:
            return _leave(segment, definition)
        if segment.leaving.handing_back or isinstance(segment.leaving.reason, LeaseLost):
            logger.warning("run %s failed while it was being left: %r", segment.run.id, failure)
            return _leave(segment, definition)
        return segment_end.failed(segment, failure, definition, meter, publish=publish)


def _leave(segment: Segment, definition: TaskDefinition) -> Executed:
    if isinstance(segment.leaving.reason, LeaseLost):
        raise segment.leaving.reason
    return segment_end.suspended(segment, definition)


def _failure_in(segment: Segment, error: BaseException) -> Exception | None:
    """Return what failed, or None if the body was only left, perhaps with its branches.

    Raises what ends the process.
    """
    if isinstance(error, CancelledError) and segment.leaving.reason is not None:
        return None
    failures: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        _, failures = error.split(Unwinding)
    if failures is None:
        return None
    if not is_failure(failures):
        raise error
    return of_body(failures)


def _call(segment: Segment, body: Body) -> object:
    args, kwargs = decode_input(segment.engine, segment.run.spec.input)
    with executing(BodySession(segment)):
        if not segment.is_async:
            return body(*args, **kwargs)
        return _call_async(segment, partial(body, *args, **kwargs))


def _call_async(segment: Segment, body: Body) -> object:
    async def begin() -> object:
        segment.replay.branches.begin(in_step=lambda: step_key.get() is not None)
        segment.leaving.raise_again()
        return await body()

    try:
        return segment.leaving.loop.run(begin)
    except BaseException as error:
        if not segment.leaving.loop.is_running:
            raise
        # A soft time limit, or whatever else interrupts a worker.
        segment.leaving.refuse(Unwinding(f"the body was interrupted by {error!r}"))
        segment.leaving.loop.abandon()
        # Its frames hold the executor of the loop's thread, which ends when that is gone.
        interrupt = error.with_traceback(None)
    raise interrupt


def _prepare(engine: Engine, definition: TaskDefinition) -> None:
    """Store source and limits of the task the first time this process sees this version of it."""
    digest = definition.version.digest
    if digest not in engine.known_versions:
        engine.patient.remember_version(definition.version)
        engine.known_versions.add(digest)
    remember_limits(engine, definition)
