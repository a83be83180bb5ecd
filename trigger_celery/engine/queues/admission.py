"""Lets waiting runs of durable queues in: whenever there may be room, and once a sweep.

A run in line was not nudged. A caller that creates runs, and a worker that leaves a slot, commits
first and then asks the store which runs to nudge; what gets lost in between is made up for by the
next sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

from trigger_celery.declare.declared_queues import declared_queues
from trigger_celery.engine.core import Engine
from trigger_celery.errors import DeclarationError, StoreUnavailable
from trigger_celery.vocabulary.records import Claimed, line_of

logger = logging.getLogger("trigger_celery.queues")

PATIENCE = timedelta(seconds=1)
"""How long an admission is repeated while the database is away: the sweep comes soon."""
ROUNDS = 20
"""At most so many batches of one line are let in at a time."""
OTHERS = 20
"""So many other lines are asked at most when a run leaves a slot that they may wait for."""
REPEATS = 2
"""After so many repeats in vain it is left to others: the first may come too early, as a run
that was let in counts from its start."""
LEFT_TO_OTHERS = timedelta(seconds=0.25)
"""So long others are relied on to let in waiting runs, after a segment that took no longer."""
CLEANED_AT_ONCE = 500
CLEAN_UP_PAUSE = 60.0
"""Seconds from one cleanup of a process to its next."""


def admit(engine: Engine, queue: str, *, woken: int = 0) -> int:
    """Nudge the runs next in line for a queue, as far as there is room; return how many.

    Where a rate alone stands in the way, this is done again as soon as it allows a start.
    ``woken`` counts the repeats since one found a run. What fails is logged: the sweep makes
    up for it.
    """
    admitted = 0
    with _made_up_for(f"queue {queue!r}: runs in line could not be let in"):
        admitted = _admit(engine, queue, woken=woken)
    return admitted


def left(engine: Engine, claimed: Claimed, *, since: float) -> None:
    """Let others in after a segment of a run is over, however it ended; never raises.

    The run has left its slot by the commit that ended the segment, which began at ``since``
    by the process's clock. After a short one that is followed by others, as the store said,
    this is left to their ends: one admission lets several in, and the slots that they were
    promised keep the workers busy meanwhile. If none of them comes to this process before
    ``LEFT_TO_OTHERS``, it is done then.
    """
    if not claimed.limited:
        return
    now = engine.clock.monotonic()
    if claimed.followed and now - since < LEFT_TO_OTHERS.total_seconds():
        line = line_of(claimed.run.spec.queue, claimed.run.task)
        engine.stored_queues.left_to_others.setdefault(line, now)
        engine.alarm.set(f"after {line}", LEFT_TO_OTHERS, partial(_catch_up, engine, claimed))
    else:
        _admit_after(engine, claimed)


def _catch_up(engine: Engine, claimed: Claimed) -> None:
    """Let others in after this run now, unless this process did since it put that off."""
    line = line_of(claimed.run.spec.queue, claimed.run.task)
    since = engine.stored_queues.left_to_others.get(line)
    if since is None:
        return
    pause = LEFT_TO_OTHERS - timedelta(seconds=engine.clock.monotonic() - since)
    if pause > timedelta(0):
        engine.alarm.set(f"after {line}", pause, partial(_catch_up, engine, claimed))
    else:
        _admit_after(engine, claimed)


def _admit_after(engine: Engine, claimed: Claimed) -> None:
    line = line_of(claimed.run.spec.queue, claimed.run.task)
    if all(name == line for name in claimed.limited):
        admit(engine, line)
        return
    with _made_up_for(f"run {claimed.run.id}: runs that wait for its slot could not be let in"):
        _admit_around(engine, line, engine.store.queues.lines())


def freed(engine: Engine, run_id: UUID) -> None:
    """Let others in after a run was stopped from outside: its worker need not know yet.

    Costs nothing where no queue is declared, and one question where no run waits.
    """
    if not are_declared(engine):
        return
    with _made_up_for(f"run {run_id}: runs that wait for its slot could not be let in"):
        lines = engine.store.queues.lines()
        run = engine.store.runs.get(run_id) if lines else None
        if run is not None:
            _admit_around(engine, line_of(run.spec.queue, run.task), lines)


def are_declared(engine: Engine) -> bool:
    """Whether code or settings of this process declare a queue, or a limit."""
    try:
        return bool(declared_queues(engine.config, engine.tasks))
    except DeclarationError:  # of a declaration that makes no sense
        return True


def admit_waiting(engine: Engine) -> int:
    """Let in the runs of all lines; return how many. Makes up for a process that died before it."""
    admitted = 0
    for line in engine.store.queues.lines():
        try:
            admitted += _admit(engine, line)
        except StoreUnavailable:
            raise
        except Exception:  # one bad queue must not hold up the others
            logger.exception("queue %r: runs in line could not be let in", line)
    return admitted


def clean_up_queues(engine: Engine) -> None:
    """Delete what means nothing any more of slots and rates, a bounded piece at a time."""
    news, now = engine.stored_queues, engine.clock.monotonic()
    if (
        now >= news.clean_up_at
        and engine.store.queues.clean_up(limit=CLEANED_AT_ONCE) < CLEANED_AT_ONCE
    ):
        news.clean_up_at = now + CLEAN_UP_PAUSE


def _admit(engine: Engine, queue: str, *, woken: int = 0) -> int:
    config, admitted = engine.config, 0
    engine.stored_queues.left_to_others.pop(queue, None)
    verb = partial(
        engine.store.queues.admit,
        queue,
        limit=config.sweep_batch,
        nudge_interval=config.nudge_interval,
    )
    for _ in range(ROUNDS):
        found = engine.briefly(verb, PATIENCE)
        admitted += len(found.nudges)
        engine.dispatcher.nudge(found.nudges)
        if not found.more:
            break
    woken = 0 if admitted else woken
    # Of many processes that look again at one moment, one finds a run: it goes on.
    if found.again_in is not None and woken < REPEATS:
        again = partial(admit, engine, queue, woken=woken + 1)
        engine.alarm.set(f"queue {queue}", found.again_in, again)
    return admitted


def _admit_around(engine: Engine, own: str, lines: Collection[str]) -> None:
    """Let in runs that wait for a slot of the deployment or of a task, and those of this line.

    The lines take turns: the one after this begins. One that was found has taken the slot.
    """
    others = sorted(set(lines) - {own}, key=lambda line: (line < own, line))
    found = any(admit(engine, line) for line in others[:OTHERS])
    if admit(engine, own) or found:
        return
    # Since the locks of that admission, a run that joined a line before this one left is seen.
    for line in sorted(set(engine.store.queues.lines()) - set(lines) - {own}):
        admit(engine, line)


@contextmanager
def _made_up_for(what: str) -> Iterator[None]:
    """Log what fails: the next sweep does it."""
    try:
        yield
    except StoreUnavailable as error:
        logger.warning("%s, the sweep will: the database is away: %s", what, error)
    except Exception:
        logger.exception("%s, the sweep will", what)
