"""Durable queues by their names: list, look, pause, resume, limit, reset, release a slot.

Besides those that are declared there is ``"*"``, the whole deployment, and ``"task/<name>"``,
the runs of one task in whatever queue. All functions that take a name raise ``QueueNotFound``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from trigger_celery.client.access import permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.runs import as_run_id
from trigger_celery.declare.limits import ARGUMENTS, RateLimit, checked
from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues.admission import admit, admit_waiting
from trigger_celery.engine.queues.known import known, stored_queue
from trigger_celery.engine.runs import control as run_control
from trigger_celery.errors import DeclarationError, IllegalTransition, InvalidOption
from trigger_celery.vocabulary.news import Topic
from trigger_celery.vocabulary.records import (
    EVERYTHING,
    OF_TASK,
    Holder,
    Limits,
    QueueLoad,
    Rate,
    Run,
    StoredQueue,
    line_of,
)
from trigger_celery.vocabulary.states import RunState

LIMITS = ARGUMENTS
"""What :func:`limit_queue` calls the limits, and what a :class:`QueueInfo` calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A durable queue, and how full it is.

    ``declared`` are the limits of the code, ``limits`` those that hold; ``overridden`` names
    the limits that people changed. ``held`` counts the runs that hold slots, ``waiting``
    those in line, the first of them since ``waiting_since``. ``stopped`` says why no run of
    the queue is started, "" if runs are.
    """

    name: str
    declared: Limits
    limits: Limits
    overridden: tuple[str, ...] = ()
    held: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""
    stopped: str = ""


class _Unchanged:
    def __repr__(self) -> str:
        return "<as it is>"


UNCHANGED: Any = _Unchanged()
"""What :func:`limit_queue` takes for a limit that stays as it is."""


def list_queues() -> Sequence[QueueInfo]:
    """Return all durable queues by name, with their limits and how full they are.

    Those are the stored ones, and those that runs stand in.
    """
    queues = permitted("list_queues").engine.patient.queues
    stored = {queue.name: queue for queue in queues.all()}
    loads = {load.name: load for load in queues.loads()}
    everything = stored.get(EVERYTHING, StoredQueue(name=EVERYTHING))
    return [
        _info(stored.get(name) or StoredQueue(name=name), everything, loads.get(name))
        for name in sorted({*stored, *loads})
    ]


def get_queue(name: str) -> QueueInfo:
    """Return a durable queue, with its limits and how full it is."""
    engine = permitted("get_queue", name).engine
    queue = known(engine, name)
    everything = engine.patient.queues.get(EVERYTHING) or StoredQueue(name=EVERYTHING)
    loads = [load for load in engine.patient.queues.loads() if load.name == name]
    return _info(queue, everything, loads[0] if loads else None)


def pause_queue(name: str, *, reason: str = "", by: str = "") -> bool:
    """Start no runs of a queue until it is resumed; False if it was paused already.

    Executing runs go on to their end or to their next suspension. Runs are still accepted
    and stand in line. Deployments do not end a pause. Raises ``InvalidName`` for a ``by`` of
    more than 200 characters, ``InvalidOption`` for a ``reason`` of more than 1,000.
    """
    permit = permitted("pause_queue", name, by=by, reason=reason)
    engine, by = permit.engine, permit.by
    before = stored_queue(engine, name)

    def pause(again: bool) -> bool:
        if engine.store.queues.pause(name, by=by, reason=reason):
            return True
        if not again or before.paused_at is not None:
            return False
        now = engine.store.queues.get(name)  # the answer was lost, or another was faster
        return now is not None and (now.paused_by, now.pause_reason) == (by, reason)

    paused = engine.resolve(pause)
    if paused:
        notifications.of_queue(engine, Topic.QUEUE_PAUSED, name, by=by, reason=reason)
    return paused


def resume_queue(name: str, *, reason: str = "", by: str = "") -> bool:
    """Let a paused queue go on at once; False if it was not paused.

    ``by`` and ``reason`` reach the receivers of the signal ``queue_resumed``, and are not
    kept. Raises what :func:`pause_queue` raises.
    """
    permit = permitted("resume_queue", name, by=by, reason=reason)
    engine, by = permit.engine, permit.by
    if known(engine, name).paused_at is None:
        return False
    resumed = engine.resolve(lambda again: engine.store.queues.resume(name) or again)
    if resumed:
        notifications.of_queue(engine, Topic.QUEUE_RESUMED, name, by=by, reason=reason)
        _let_in(engine, name)
    return resumed


def limit_queue(
    name: str,
    *,
    concurrency_limit: int | None = UNCHANGED,
    key_limit: int | None = UNCHANGED,
    rate_limit: RateLimit | None = UNCHANGED,
    key_rate_limit: RateLimit | None = UNCHANGED,
) -> bool:
    """Put limits in the place of those that code and settings declare; False if none changed.

    They hold until :func:`reset_queue`, also after deployments. What is not given stays as
    it is; None is no limit, and a ``concurrency_limit`` of 0 starts nothing. Executing runs
    go on, also over a lower limit.

    Raises ``InvalidOption`` for what ``Queue`` refuses too, and if nothing is given.
    """
    engine = permitted("limit_queue", name).engine
    limits = {
        "concurrency_limit": concurrency_limit,
        "key_limit": key_limit,
        "rate_limit": rate_limit,
        "key_rate_limit": key_rate_limit,
    }
    changes = checked_limits(name, limits)
    before = stored_queue(engine, name)
    differs = {**before.overrides, **changes} != before.overrides
    changed = engine.resolve(
        lambda again: engine.store.queues.override(name, changes) or (again and differs)
    )
    if changed:
        _let_in(engine, name)
    return changed


def reset_queue(name: str) -> bool:
    """Let the limits of code and settings hold again; False if none was changed.

    A pause stays.
    """
    engine = permitted("reset_queue", name).engine
    if not known(engine, name).overrides:
        return False
    changed = engine.resolve(lambda again: engine.store.queues.reset(name) or again)
    if changed:
        _let_in(engine, name)
    return changed


def queue_holders(name: str, *, limit: int = 100) -> Sequence[Holder]:
    """Return the runs that hold slots of a queue, the longest first, so many at most.

    Raises ``InvalidOption`` for a ``limit`` that is no whole number of 1 or more.
    """
    engine = permitted("queue_holders", name).engine
    known(engine, name)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidOption(f"expected limit to be a whole number of 1 or more, got: {limit!r}")
    return engine.patient.queues.holders(name, limit=limit)


def release_slot(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Take the slot from an executing run, as if its worker had died.

    That counts as a crash: the run is queued again and continues from its checkpoints, or
    fails if it has crashed too often. A worker that still executes it can record nothing
    more, but what it does meanwhile is not undone. ``by`` and ``reason`` go into the run's
    history.

    Raises ``RunNotFound``, and ``IllegalTransition`` if the run holds no slot.
    """
    permit = permitted("release_slot", run_id := as_run_id(run_id), by=by, reason=reason)
    engine = permit.engine
    run = _held_by(engine, run_id)

    def release(again: bool) -> bool:
        if run_control.recover(engine, run_id, run.worker):
            return True
        now = engine.store.runs.get(run_id) if again else None
        return now is not None and now.crashes > run.crashes  # it was done, its answer was lost

    if not engine.resolve(release):
        raise IllegalTransition(f"run {run_id} has left its slot by itself; nothing was done")
    engine.patient.runs.note(run_id, "release", permit.record)
    _let_in(engine, line_of(run.spec.queue, run.task))


def check_queue(name: str) -> None:
    """Raise ``QueueNotFound`` if there is no such queue."""
    known(permitted("get_queue", name).engine, name)


def slot_holder(run_id: UUID | str) -> Run:
    """Return the run whose slot :func:`release_slot` would take. Raises what that raises."""
    permit = permitted("get_run", run_id := as_run_id(run_id))
    return _held_by(permit.engine, run_id)


def checked_limits(name: str, given: Mapping[str, object]) -> Mapping[str, int | Rate | None]:
    """Return limits as the store takes them, without those that are :data:`UNCHANGED`.

    Raises ``InvalidOption`` for a limit that makes no sense, and if none is left.
    """
    given = {each: value for each, value in given.items() if value is not UNCHANGED}
    if not given:
        raise InvalidOption(
            f"expected at least one limit of queue {name!r} to change: {', '.join(LIMITS)}"
        )
    of_key = [each for each in given if each.startswith("key_")]
    if name == EVERYTHING and of_key:
        raise InvalidOption(
            f"expected {of_key[0]} to be said of a queue: the deployment has no keys of its own"
        )
    try:
        return checked(given, f"queue {name!r}")
    except DeclarationError as error:
        raise InvalidOption(str(error)) from None


def _held_by(engine: Engine, run_id: UUID) -> Run:
    run = run_control.get(engine, run_id)
    if run.state is not RunState.EXECUTING:
        raise IllegalTransition(f"run {run_id} holds no slot: it is {run.state}")
    if not engine.patient.queues.holds(run_id):
        line = line_of(run.spec.queue, run.task)
        raise IllegalTransition(f"run {run_id} holds no slot: queue {line!r} did not limit it")
    return run


def _let_in(engine: Engine, name: str) -> None:
    """Admit the runs that may start now, once the change is committed."""
    engine.after_commit(partial(_admit, engine, name))


def _admit(engine: Engine, name: str) -> None:
    # The limits of the deployment or of a task hold for runs in any line.
    if name == EVERYTHING or name.startswith(OF_TASK):
        engine.persist(partial(admit_waiting, engine))
    else:
        admit(engine, name)


def _info(queue: StoredQueue, everything: StoredQueue, load: QueueLoad | None) -> QueueInfo:
    load = load or QueueLoad(name=queue.name)
    return QueueInfo(
        name=queue.name,
        declared=queue.declared,
        limits=queue.limits,
        overridden=tuple(sorted(queue.overrides)),
        held=load.held,
        waiting=load.waiting,
        waiting_since=load.waiting_since,
        paused_at=queue.paused_at,
        paused_by=queue.paused_by,
        pause_reason=queue.pause_reason,
        stopped=_stopped(queue, everything),
    )


def _stopped(queue: StoredQueue, everything: StoredQueue) -> str:
    """Return why no run of a queue is started."""
    if queue.paused_at is not None:
        return "paused"
    if queue.limits.concurrency == 0:
        return "paused by its limit of 0"
    if everything.paused_at is not None:
        return "everything is paused"
    if everything.limits.concurrency == 0:
        return "paused by the limit of 0 of everything"
    return ""


alist_queues = twin(list_queues)
aget_queue = twin(get_queue)
apause_queue = twin(pause_queue)
aresume_queue = twin(resume_queue)
alimit_queue = twin(limit_queue)
areset_queue = twin(reset_queue)
aqueue_holders = twin(queue_holders)
arelease_slot = twin(release_slot)
