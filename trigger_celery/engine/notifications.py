"""Sends listeners the news, where the verbs of the engine return from their commits.

Each function first asks whether there is a listener: news without one costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from trigger_celery.body.context import entered
from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.interrupts import is_failure
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.news import EventNews, News, QueueNews, RunNews, StepNews, Topic
from trigger_celery.vocabulary.records import NewRun, Nudge, Run, StoredEvent
from trigger_celery.vocabulary.states import UNSUCCESSFUL, RunState

logger = logging.getLogger("trigger_celery.signals")

ENDS = {
    RunState.COMPLETED: Topic.RUN_COMPLETED,
    RunState.FAILED: Topic.RUN_FAILED,
    RunState.TIMED_OUT: Topic.RUN_TIMED_OUT,
    RunState.CANCELED: Topic.RUN_CANCELED,
    RunState.EXPIRED: Topic.RUN_EXPIRED,
}
"""The news of the end of a run, by how it ended."""


def created(engine: Engine, runs: Sequence[NewRun], new: Collection[UUID]) -> None:
    """Send news of the runs with new ids, once the caller's transaction is committed."""
    if not engine.listeners.wants(Topic.RUN_CREATED):
        return
    for run in runs:
        if run.id in new:
            news = RunNews(run_id=run.id, task=run.task, state=RunState.QUEUED)
            engine.after_commit(partial(send, engine, Topic.RUN_CREATED, news))


def received(engine: Engine, event: StoredEvent) -> None:
    """Send news of an event, once the caller's transaction is committed."""
    if engine.listeners.wants(Topic.EVENT_RECEIVED):
        news = EventNews(event_id=event.id, name=event.name, source=event.source)
        engine.after_commit(partial(send, engine, Topic.EVENT_RECEIVED, news))


def of_queue(engine: Engine, topic: Topic, name: str, *, by: str, reason: str) -> None:
    """Send the news that a durable queue was paused or resumed."""
    if engine.listeners.wants(topic):
        news = QueueNews(name=name, by=by, reason=reason)
        engine.after_commit(partial(send, engine, topic, news))


def running(engine: Engine, topic: Topic, run: Run) -> None:
    """Send the news that the body of a claimed run begins or goes on."""
    if engine.listeners.wants(topic):
        send(engine, topic, _news(run, RunState.EXECUTING))


def suspended(engine: Engine, run: Run, state: RunState, waits: Sequence[str]) -> None:
    """Send the news that a run waits; ``state`` is queued if one of its waits is over already."""
    if engine.listeners.wants(Topic.RUN_SUSPENDED):
        send(engine, Topic.RUN_SUSPENDED, _news(run, state, waits=tuple(waits)))


def retrying(
    engine: Engine, run: Run, state: RunState, error: str, delay: timedelta | None
) -> None:
    """Send the news that an attempt of a run failed and that there will be another."""
    if engine.listeners.wants(Topic.RUN_RETRYING):
        send(engine, Topic.RUN_RETRYING, _news(run, state, error=error, delay=delay))


def ended(engine: Engine, run: Run, state: RunState, *, error: str = "") -> None:
    """Send the news of a run that ended here; ``error`` names what it failed with."""
    _ended(engine, _news(run, state, error=error))


def ended_elsewhere(engine: Engine, nudges: Sequence[Nudge]) -> None:
    """Send the news of runs that ended unexecuted: they are read if there is a listener."""
    topics = (*ENDS.values(), Topic.RUN_DEAD_LETTERED)
    if not nudges or not any(map(engine.listeners.wants, topics)):
        return
    for nudge in nudges:
        try:
            run = engine.store.runs.get(nudge.run_id)
        except Exception:  # they have ended all the same
            logger.exception("run %s: its end could not be reported to listeners", nudge.run_id)
            continue
        if run is not None and run.state.terminal:
            failure = None if run.error is None else from_text(run.error)
            if failure is None:
                _ended(engine, _news(run, run.state))
            elif run.state is RunState.CANCELED:
                _ended(engine, _news(run, run.state, reason=failure.message))
            else:
                _ended(engine, _news(run, run.state, error=failure.kind))


def step_completed(engine: Engine, run: Run, key: str, attempt: int) -> None:
    """Send the news that the outcome of a step is recorded."""
    if engine.listeners.wants(Topic.STEP_COMPLETED):
        news = StepNews(run_id=run.id, task=run.task, key=key, attempt=attempt)
        send(engine, Topic.STEP_COMPLETED, news)


def step_failed(engine: Engine, run: Run, key: str, attempt: int, error: Exception) -> None:
    """Send the news that an attempt of a step failed and that this is recorded."""
    if engine.listeners.wants(Topic.STEP_FAILED):
        kind = type(error).__qualname__
        news = StepNews(run_id=run.id, task=run.task, key=key, attempt=attempt, error=kind)
        send(engine, Topic.STEP_FAILED, news)


def send(engine: Engine, topic: Topic, news: News) -> None:
    """Send it now, outside of any run; what listeners raise is logged."""
    try:
        with entered(None):
            engine.listeners.send(topic, news)
    except BaseException as error:
        if not is_failure(error):
            raise
        logger.exception("a listener to %s failed", topic)


def _news(run: Run, state: RunState, **details: object) -> RunNews:
    news: dict[str, object] = {"attempt": run.attempt, **details}
    return RunNews(run_id=run.id, task=run.task, state=state, **news)  # type: ignore[arg-type]


def _ended(engine: Engine, news: RunNews) -> None:
    topics = [ENDS[news.state]]
    if news.state in UNSUCCESSFUL:
        topics.append(Topic.RUN_DEAD_LETTERED)
    for topic in topics:
        if engine.listeners.wants(topic):
            send(engine, topic, news)
