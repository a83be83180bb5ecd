"""What people ask of durable queues: look, pause, resume, limit, reset, release a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

from trigger_celery.body.queue_info import QueueInfo
from trigger_celery.declare.limits import ARGUMENTS, RateLimit, checked
from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues.admission import admit, admit_waiting
from trigger_celery.engine.queues.known import known, stored_queue
from trigger_celery.engine.runs import control as run_control
from trigger_celery.errors import DeclarationError, IllegalTransition, InvalidOption
from trigger_celery.vocabulary.checks import valid_name
from trigger_celery.vocabulary.news import Topic
from trigger_celery.vocabulary.records import (
    EVERYTHING,
    OF_TASK,
    Holder,
    QueueLoad,
    Rate,
    Run,
    StoredQueue,
    line_of,
)
from trigger_celery.vocabulary.states import RunState

REASON_LENGTH = 1_000


def all_of(engine: Engine) -> Sequence[QueueInfo]:
    """Return all queues by name: those that are stored, and those that runs stand in."""
    stored = {queue.name: queue for queue in engine.store.queues.all()}
    loads = {load.name: load for load in engine.store.queues.loads()}
    everything = stored.get(EVERYTHING, StoredQueue(name=EVERYTHING))
    return [
        _info(stored.get(name) or StoredQueue(name=name), everything, loads.get(name))
        for name in sorted({*stored, *loads})
    ]


def get(engine: Engine, name: str) -> QueueInfo:
    """Return a queue. Raises :exc:`QueueNotFound`."""
    queue = known(engine, name)
    everything = engine.store.queues.get(EVERYTHING) or StoredQueue(name=EVERYTHING)
    loads = [load for load in engine.store.queues.loads() if load.name == name]
    return _info(queue, everything, loads[0] if loads else None)


def pause(engine: Engine, name: str, *, by: str = "", reason: str = "") -> bool:
    """Start no runs of a queue until it is resumed; return False if it was paused already.

    Executing runs go on to their end or to their next suspension. ``EVERYTHING`` pauses the
    deployment, ``OF_TASK`` and its name a task. Raises :exc:`QueueNotFound`, and
    ``InvalidName`` or :exc:`InvalidOption` for a text that is too long.
    """
    _check_told(by, reason)
    stored_queue(engine, name)
    paused = engine.patient.queues.pause(name, by=by, reason=reason)
    if paused:
        notifications.of_queue(engine, Topic.QUEUE_PAUSED, name, by=by, reason=reason)
    return paused


def resume(engine: Engine, name: str, *, by: str = "", reason: str = "") -> bool:
    """Let a paused queue go on; return False if it was not paused.

    Who is next in line is told at once. Who resumes it and why is told to receivers of the
    signal, and not kept. Raises what :func:`pause` raises.
    """
    _check_told(by, reason)
    if known(engine, name).paused_at is None:
        return False
    resumed = engine.patient.queues.resume(name)
    if resumed:
        notifications.of_queue(engine, Topic.QUEUE_RESUMED, name, by=by, reason=reason)
        _let_in(engine, name)
    return resumed


def limit(engine: Engine, name: str, given: Mapping[str, int | RateLimit | None]) -> bool:
    """Let these limits, by their names in ``ARGUMENTS``, stand in for those of the code.

    None lifts a limit; limits that are not given stay as they are. They hold until
    :func:`reset`, also after deployments. Returns False if nothing changed.

    Raises :exc:`QueueNotFound`, and :exc:`InvalidOption` for a limit that makes no sense.
    """
    changes = checked_limits(name, given)
    stored_queue(engine, name)
    changed = engine.patient.queues.override(name, changes)
    if changed:
        _let_in(engine, name)
    return changed


def reset(engine: Engine, name: str) -> bool:
    """Let the limits of the code hold again; return False if none was overridden.

    A pause stays. Raises :exc:`QueueNotFound`.
    """
    if not known(engine, name).overrides:
        return False
    changed = engine.patient.queues.reset(name)
    if changed:
        _let_in(engine, name)
    return changed


def holders(engine: Engine, name: str, *, limit: int = 100) -> Sequence[Holder]:
    """Return who holds slots of a queue, the longest first. Raises :exc:`QueueNotFound`."""
    known(engine, name)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidOption(f"expected limit to be a whole number of 1 or more, got: {limit!r}")
    return engine.store.queues.holders(name, limit=limit)


def release(engine: Engine, run_id: UUID, *, by: str = "", reason: str = "") -> None:
    """Take the slot from a run, as if its worker had died: that counts as a crash of the run.

    The run is queued again, or fails if it has crashed too often. A worker that still
    executes it can record nothing more. ``by`` and ``reason`` go into the run's history.

    Raises ``RunNotFound``, or :exc:`IllegalTransition` if the run holds no slot.
    """
    run = held_by(engine, run_id)
    if not run_control.recover(engine, run_id, run.worker):
        raise IllegalTransition(f"run {run_id} has left its slot by itself; nothing was done")
    told = run_control.told(by, reason)
    engine.patient.runs.note(run_id, "release", told)
    _let_in(engine, line_of(run.queue, run.task))


def held_by(engine: Engine, run_id: UUID) -> Run:
    """Return a run that holds a slot.

    Raises ``RunNotFound``, or :exc:`IllegalTransition` if it holds none.
    """
    run = run_control.get(engine, run_id)
    if run.state is not RunState.EXECUTING:
        raise IllegalTransition(f"run {run_id} holds no slot: it is {run.state}")
    if not engine.store.queues.holds(run_id):
        line = line_of(run.queue, run.task)
        raise IllegalTransition(f"run {run_id} holds no slot: queue {line!r} did not limit it")
    return run


def _check_told(by: str, reason: str) -> None:
    if by:
        valid_name(by, "who pauses or resumes a queue (by)")
    if not isinstance(reason, str) or len(reason) > REASON_LENGTH or not reason.isprintable():
        raise InvalidOption(
            f"expected the reason of a pause or its end to be one line of at most "
            f"{REASON_LENGTH:,} characters, got: {reason!r}"
        )


def _let_in(engine: Engine, name: str) -> None:
    """Tell who may start now that more may, once the change is committed."""
    engine.store.on_commit(partial(_admit, engine, name))


def _admit(engine: Engine, name: str) -> None:
    # The limits of the deployment or of a task hold for runs in any line.
    if name == EVERYTHING or name.startswith(OF_TASK):
        engine.persist(partial(admit_waiting, engine))
    else:
        admit(engine, name)


def checked_limits(name: str, given: Mapping[str, object]) -> Mapping[str, int | Rate | None]:
    """Return limits by their names in ``Limits``. Raises :exc:`InvalidOption`."""
    if not given:
        raise InvalidOption(
            f"expected at least one limit of queue {name!r} to change: {', '.join(ARGUMENTS)}"
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
