"""One bounded pass that finds what is due, lost or late and moves it on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import TypeAlias

from trigger_celery.engine import notifications
from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.patience import no_patience
from trigger_celery.engine.queues.admission import admit_waiting, clean_up_queues
from trigger_celery.engine.runs.consequences import of_end
from trigger_celery.engine.schedules.firing import fire_schedules
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.engine.upkeep.left_over import AWAY, match_left_over
from trigger_celery.engine.upkeep.lost_nudges import repair_nudges
from trigger_celery.engine.upkeep.retention import purge_events
from trigger_celery.engine.waking.look_back import look_back
from trigger_celery.engine.waking.tokens import settle_left_over
from trigger_celery.vocabulary.records import Lease

logger = logging.getLogger("trigger_celery.sweep")

Duty: TypeAlias = Callable[[Engine, float], int | None]
"""A part of the sweep. It gets the reading of the process's clock at which it is to stop."""

PASS = timedelta(seconds=1)
"""About how long a pass takes at most: what comes due meanwhile is then late by little."""

TALLIED = 500
"""So many dead letters are counted at a time: the rows of their groups are locked meanwhile."""

ROUNDS = 50
"""At most so many batches a pass: a backlog goes fast and a pass still ends."""


@dataclass
class Rests:
    """How long the parts of the sweep rest that make up for rare accidents.

    Each time such a part finds nothing, it rests twice as long, up to half the nudge interval:
    what it looks for is older than that interval anyway.
    """

    lengths: dict[Duty, float] = field(default_factory=dict)
    ends: dict[Duty, float] = field(default_factory=dict)

    def note(self, engine: Engine, duty: Duty, moved: int) -> None:
        """Let the part rest, or end its rests, by how much it found."""
        config = engine.config
        longest, least = config.nudge_interval / 2, config.sweep_interval
        length = max(least.total_seconds(), 2 * self.lengths.get(duty, 0.0))
        self.lengths[duty] = 0.0 if moved else min(length, longest.total_seconds())
        self.ends[duty] = engine.clock.monotonic() + self.lengths[duty]


@no_patience()
def sweep(engine: Engine, rests: Rests | None = None) -> int:
    """Move on what time alone moves; return how many runs and events were looked at.

    Any number may run in parallel: each row is taken by one of them. Each part moves a batch of
    each kind, and more while the pass has time left; the next pass goes on. With ``rests``, parts
    that make up for rare accidents are left out while they rest. A database that is away ends it
    at once: the next pass does what is left, or that of a sweeper that reaches the database.
    """
    moved, began = 0, engine.clock.monotonic()
    for duty in DUTIES:
        if rests is None or rests.ends.get(duty, began) <= began:
            found = _done(duty, engine, began + PASS.total_seconds())
            moved += found
            if rests is not None and duty in BACKSTOPS:
                rests.note(engine, duty, found)
    return moved


def _done(duty: Duty, engine: Engine, until: float) -> int:
    """Do one part of the sweep; a mistake in it must not hold up the others."""
    try:
        return duty(engine, until) or 0
    except AWAY:
        raise
    except Exception:
        logger.exception("a part of the sweep failed: %s", duty.__name__)
        return 0


def _move_due(engine: Engine, until: float) -> int:
    """Move on the runs whose time has come, and look for what they wait for if no worker did."""
    config, moved = engine.config, 0
    for _ in range(ROUNDS):
        due = engine.store.sweeps.due(
            limit=config.sweep_batch, nudge_interval=config.nudge_interval
        )
        engine.dispatcher.nudge(due.nudges)
        notifications.ended_elsewhere(engine, due.failed)  # which are nudged with the others
        for lease in due.unlooked:
            _look_back(engine, lease)
        moved += len(due)
        if len(due) < config.sweep_batch or engine.clock.monotonic() >= until:
            break
    return moved


def _expire(engine: Engine, until: float) -> int:
    """End the runs that were not started, or not over, in time."""
    moved, batch = 0, engine.config.sweep_batch
    for _ in range(ROUNDS):
        nudges = engine.store.sweeps.expire(limit=batch)
        of_end(engine, nudges, admit=False)
        moved += len(nudges)
        if len(nudges) < batch or engine.clock.monotonic() >= until:
            break
    return moved


def _tally(engine: Engine, until: float) -> int:
    """Let the groups of dead letters count what changed; it is no run or event that moved."""
    for _ in range(ROUNDS):
        moved = engine.store.dead_letters.tally(limit=TALLIED).moved
        if moved < TALLIED or engine.clock.monotonic() >= until:
            break
    return 0


def _look_back(engine: Engine, lease: Lease) -> None:
    try:
        look_back(engine, lease)
    except AWAY:
        raise
    except Exception:  # one bad event must not hold up the others
        logger.exception("run %s: the look-back at stored events failed", lease.run_id)


def _once(duty: Callable[[Engine], int | None]) -> Duty:
    """Return the duty that does a bounded piece of work in each pass."""

    @wraps(duty)
    def part(engine: Engine, until: float) -> int | None:
        return duty(engine)

    return part


DUTIES: tuple[Duty, ...] = (
    _once(sync_declared),
    _expire,
    _once(settle_left_over),  # before a wait on a completed token times out
    _move_due,
    _once(fire_schedules),
    _once(admit_waiting),  # runs that just lost their lease or their time have left their slots
    _once(clean_up_queues),
    _once(purge_events),
    _tally,
    match_left_over,
    repair_nudges,
)
"""The parts of a sweep, in their order."""

BACKSTOPS: tuple[Duty, ...] = (match_left_over, repair_nudges)
"""The parts that find something only after a process died or a message was lost."""
