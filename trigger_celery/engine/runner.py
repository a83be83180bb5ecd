"""Executes a run: claim, replay, body, settle. One pass is one segment."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync

from trigger_celery.authoring.context import entered
from trigger_celery.authoring.definition import TaskDefinition
from trigger_celery.engine import settle
from trigger_celery.engine.app import Engine
from trigger_celery.engine.lease import Holding
from trigger_celery.engine.outcome import NOT_CLAIMED, Executed, Left, stored_outcome
from trigger_celery.engine.replay import Replay
from trigger_celery.engine.segment import Segment
from trigger_celery.engine.session import BodySession
from trigger_celery.engine.trigger import decode_input
from trigger_celery.errors import LeaseLost, RunError, StoreUnavailable, Unwinding
from trigger_celery.identity import new_token
from trigger_celery.records import Claim, Claimed, Outcomes, Run

logger = logging.getLogger("trigger_celery.run")

Body = Callable[..., Any]


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
    ``publish`` says whether the end of the run has to be confirmed with :func:`published`
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
    _remember_version(engine, definition)
    sent_at = engine.clock.monotonic()
    claimed = engine.persist(partial(engine.store.runs.claim, claim))
    if claimed is None:
        return NOT_CLAIMED
    if claimed.publishing:
        text = claimed.run.output
        return stored_outcome(claimed, None if text is None else engine.codec.decode(text))
    with engine.leases.holding(claimed.lease, claim.length, sent_at=sent_at) as held:
        owed = publish(claimed.run)
        try:
            segment = _segment(engine, claimed, held, definition)
            return _run(segment, definition, body or definition.body, publish=owed)
        except LeaseLost as lost:
            logger.warning("run %s: %s; its result was dropped", run_id, lost)
            return Left(reason="lease lost", run=claimed.run)


def published(engine: Engine, executed: Executed) -> None:
    """Note that result and callbacks of a finished run are out."""
    if not isinstance(executed, Left) and executed.owed:
        engine.persist(partial(engine.store.runs.published, executed.lease))


def _segment(
    engine: Engine, claimed: Claimed, held: Holding, definition: TaskDefinition
) -> Segment:
    outcomes = Outcomes()
    if claimed.replayed:
        load = partial(
            engine.store.checkpoints.load, claimed.run.id, run_attempt=claimed.run.attempt
        )
        try:
            outcomes = engine.persist(load)
        except StoreUnavailable as error:
            raise LeaseLost(f"the database stayed away: {error}") from error
    replay = Replay(outcomes, step_limit=engine.config.step_limit)
    return Segment(engine, claimed, held, replay, is_async=definition.is_async)


def _run(segment: Segment, definition: TaskDefinition, body: Body, *, publish: bool) -> Executed:
    meter = segment.meter()
    try:
        # In a copy of the context: what a body sets must not reach the worker's next task.
        with meter:
            value = copy_context().run(_call, segment, body)
        if segment.unwinding is None:
            segment.store.check_boundary(f"the end of task {segment.run.task!r}")
            return settle.completed(segment, value, publish=publish)
        if segment.left_main_line:
            raise settle.swallowed(segment)
        return _leave(segment)
    except Unwinding:
        return _leave(segment)
    except (Exception, BaseExceptionGroup, CancelledError) as error:
        failure = _failure_in(error)
        if failure is None:
            return _leave(segment)
        if segment.handing_back or isinstance(segment.unwinding, LeaseLost):
            logger.warning("run %s failed while it was being left: %r", segment.run.id, failure)
            return _leave(segment)
        return settle.failed(segment, failure, definition, meter, publish=publish)


def _leave(segment: Segment) -> Executed:
    if isinstance(segment.unwinding, LeaseLost):
        raise segment.unwinding
    return settle.suspended(segment)


def _failure_in(error: BaseException) -> Exception | None:
    """Return what failed, or None if the branches of a ``TaskGroup`` were only left together."""
    if isinstance(error, CancelledError):
        failure = RunError("the body ended as canceled, by something that it awaited")
        failure.__cause__ = error
        return failure
    if isinstance(error, BaseExceptionGroup):
        _, failures = error.split(Unwinding)
        if failures is not None and not isinstance(failures, Exception):
            raise error
        return failures
    if not isinstance(error, Exception):
        raise error
    return error


def _call(segment: Segment, body: Body) -> object:
    args, kwargs = decode_input(segment.engine, segment.run.input)
    with entered(BodySession(segment)):
        if not segment.is_async:
            return body(*args, **kwargs)
        # A loop of its own: what the body leaves behind in it ends with the segment.
        return async_to_sync(_begin, force_new_loop=True)(segment, body, args, kwargs)


async def _begin(segment: Segment, body: Body, args: list[Any], kwargs: dict[str, Any]) -> object:
    segment.begin_async()
    return await body(*args, **kwargs)


def _remember_version(engine: Engine, definition: TaskDefinition) -> None:
    """Store the task's source the first time this process sees this version of it."""
    digest = definition.version.digest
    if digest not in engine.known_versions:
        engine.persist(partial(engine.store.remember_version, definition.version))
        engine.known_versions.add(digest)
