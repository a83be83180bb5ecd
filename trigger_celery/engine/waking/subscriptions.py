"""Tasks that events start: what is declared goes to the store, and each event starts its runs.

A run's id follows from its task and its event. So an event that is matched twice, by a sender
and by the sweep that took it for dead, starts each of its runs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid5

from trigger_celery.body.waits import Event
from trigger_celery.declare.definition import EventTrigger
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.origins import encode_origin
from trigger_celery.engine.runs.routing import key_of_event
from trigger_celery.engine.runs.trigger import Request, new_run, of_creation
from trigger_celery.values.codec import encode_around, identity_text
from trigger_celery.values.filters import Filter, matches
from trigger_celery.vocabulary.records import Created, FromEvent, NewRun, StoredEvent, Subscription

BATCH = 500
ROOM = 4_000_000
"""So many characters of input one batch of new runs holds at most, beside a single run's."""
_NAMESPACE = UUID("6d1bd9a7-6c0c-4b0e-9d5f-2f6e6d0f5a41")


def synchronize(engine: Engine) -> int:
    """Let the store know which events start the tasks of this process; return what changed.

    Only what this process did not store yet is stored. A task that is declared without
    ``on_event`` loses the subscription it had, and so does an earlier name of a task; tasks that
    are unknown here keep theirs.
    """
    declared: dict[str, EventTrigger | None] = {}
    for task in engine.tasks:
        declared |= dict.fromkeys(task.aliases) | {task.name: task.on_event}
    news = {
        task: starts
        for task, starts in declared.items()
        if task not in engine.subscribed or engine.subscribed[task] != starts
    }
    if not news:
        return 0
    wanted = [_subscription(engine, task, starts) for task, starts in news.items() if starts]
    retired = [task for task, starts in news.items() if starts is None]
    changed = engine.store.subscriptions.sync(wanted, retired)
    engine.subscribed.update(news)
    return changed


def _subscription(engine: Engine, task: str, starts: EventTrigger) -> Subscription:
    wanted = Filter(starts.name, starts.filter, engine.codec, source=starts.source)
    return Subscription(task=task, name=starts.name, filter=wanted.text)


def started_id(task: str, event: StoredEvent) -> UUID:
    """Return the id of the run of a task that an event starts."""
    return uuid5(_NAMESPACE, identity_text([task, event.source, event.id]))


def start_runs(
    engine: Engine, event: StoredEvent, payload: object, batch: Sequence[Subscription]
) -> int:
    """Start a run of each task whose subscription the event passes, in batches.

    ``batch`` are the first ``BATCH`` subscriptions to the event's name. Returns how many of the
    runs are new. Safe to repeat.
    """
    new = 0
    while True:
        passed = [
            each.task for each in batch if matches(each.filter, event.source, payload, engine.codec)
        ]
        if passed:
            new += _start(engine, event, passed)
        if len(batch) < BATCH:
            return new
        after = batch[-1].task
        batch = engine.patient.subscriptions.of(event.name, after=after, limit=BATCH)


def _start(engine: Engine, event: StoredEvent, tasks: Sequence[str]) -> int:
    text = _input(engine, event)
    size = max(1, ROOM // len(text))
    started = 0
    for first in range(0, len(tasks), size):
        runs = [_run(engine, event, task, text) for task in tasks[first : first + size]]
        fresh = engine.persist(partial(_create, engine, runs))
        of_creation(engine, runs, fresh)
        started += len(fresh)
    return started


def _create(engine: Engine, runs: Sequence[NewRun]) -> Created:
    with engine.store.joined() if any(run.tags for run in runs) else nullcontext():
        return engine.store.runs.create(runs)


def _run(engine: Engine, event: StoredEvent, task: str, text: str) -> NewRun:
    origin = FromEvent(
        event=event.id, name=event.name, source=event.source, sequence=event.sequence
    )
    definition = engine.task(task)
    if definition is None:  # this process cannot import it, and knows no more of the task
        return NewRun(
            id=started_id(task, event),
            task=task,
            input=text,
            canvas=engine.canvas_of(task, None),
            max_crashes=engine.config.max_crashes,
            origin=encode_origin(engine.codec, origin),
            event_cut=event.sequence,
        )
    request = Request(
        definition=definition,
        args=(None,),
        id=started_id(task, event),
        origin=origin,
        keyless=True,
    )
    run = new_run(engine, request)
    key = key_of_event(engine, definition, text)
    return replace(
        run,
        input=text,
        concurrency_key=key,
        # Sending the event is what created the run, however late this is made up for.
        event_cut=event.sequence,
    )


def _input(engine: Engine, event: StoredEvent) -> str:
    """Return the text of a run's input: the event as its only argument, its payload as stored."""

    def arguments(payload: str) -> object:
        shown = Event(
            id=event.id,
            name=event.name,
            payload=payload,
            received_at=event.received_at,
            source=event.source,
        )
        return [[shown], {}]

    return encode_around(engine.codec, arguments, event.payload)
