"""What a process that may sweep does all the time: it sweeps when it is its turn."""

from __future__ import annotations

import logging
from datetime import timedelta
from secrets import token_hex
from typing import Protocol

from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.skew import TOLERATED, clock_skew
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.engine.upkeep.sweep import Rests, sweep
from trigger_celery.errors import NotMigrated, StoreUnavailable
from trigger_celery.vocabulary.records import Elected

logger = logging.getLogger("trigger_celery.sweep")

LEAST_PAUSE = 0.05
"""Seconds between two passes at least, whatever ``sweep_interval`` says."""
SPARE = 3.0
"""How many seconds a turn lasts beyond two intervals: for a pass, and for a slow database."""
IN_VAIN = 5
"""After so many passes that could publish nothing a sweeper lets another one try."""
SILENCE = 60.0
"""For how many seconds the same failure is not logged again."""


class NothingPublished(Exception):
    """The broker takes no message of this process: one on another machine may reach it."""


class Stop(Protocol):
    """When a sweeper is to end, as ``threading.Event`` says it."""

    def wait(self, timeout: float) -> bool:
        """Return True as soon as it is to end, False after so many seconds."""


class Sweeper:
    """One of any number of processes that may sweep: the store says whose turn it is.

    A turn lasts a few seconds of the store's time and is prolonged by the one that has it, so
    another takes over soon after that one has died, hangs, or has lost the database. One whose
    pass fails, or that can publish nothing in several, ends its turn, and gives the others time to
    take it.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        """``place`` says where it runs: in beat, beside a worker, in a command."""
        self.name = f"{engine.worker()} ({place}, {token_hex(4)})"
        self._engine = engine
        self._rests = Rests()
        self._prolong_at = engine.clock.monotonic()
        self.whose = ""
        """The name of the sweeper whose turn it is, as far as this one knows."""
        self._refusals = self._in_vain = 0
        self._failure: type[Exception] | None = None
        self._silent_until = 0.0

    def run(self, stop: Stop) -> None:
        """Sweep, or stand by, until ``stop`` says that it ends."""
        logger.info("sweeper %s starts", self.name)
        self._compare_clocks()
        try:
            while not stop.wait(self.turn()):
                pass
        finally:
            self.leave()

    def _compare_clocks(self) -> None:
        """Say once if this process's clock is far from the store's, as ``check --database`` does.

        It is that of the worker or beat beside which this one sweeps.
        """
        try:
            skew = clock_skew(self._engine.store.now)
        except StoreUnavailable:  # the first pass says so
            return
        if abs(skew) > TOLERATED:
            logger.warning(
                "the clock of this machine is %.1f s %s that of the database: runs go by the "
                "database's, but times that your code makes of datetime.now() are as far off. Let "
                "a time service (chrony, systemd-timesyncd) set the clocks of all machines",
                abs(skew).total_seconds(),
                "ahead of" if skew > timedelta(0) else "behind",
            )

    def turn(self) -> float:
        """Sweep if it is this one's turn; return after how many seconds to look again.

        Raises nothing: what fails is logged, and tried again.
        """
        began, interval = self._engine.clock.monotonic(), 1.0
        others: float | None = None
        try:
            interval = self._engine.config.sweep_interval.total_seconds()
            others = self._others_turn(began, interval)
            if others is None:
                sweep(self._engine, self._rests)
                self._look_at_publishing()
            else:
                sync_declared(self._engine)  # which the other may not know, as an older release
            if not self._in_vain:
                self._goes_on()
        except Exception as error:
            self._failed(error)
            if self.whose == self.name and self._resign():  # the database is there for another
                return _look_again(interval) + interval
        else:
            if others is not None:
                return max(LEAST_PAUSE, min(others, _look_again(interval)))
        return max(LEAST_PAUSE, began + interval - self._engine.clock.monotonic())

    def _look_at_publishing(self) -> None:
        """Count the passes that publish in vain; one that has nothing to publish says nothing."""
        refusals, before = self._engine.dispatcher.refusals, self._refusals
        self._refusals = refusals
        if refusals < before:
            self._in_vain = 0
        elif refusals > before:
            self._in_vain += 1
        if self._in_vain == IN_VAIN:
            self._in_vain = 0
            raise NothingPublished

    def once(self) -> int | None:
        """Make one pass and leave; return how many runs and events it looked at.

        None if another sweeps. Raises :exc:`StoreUnavailable` if the database is away.
        """
        interval = self._engine.config.sweep_interval.total_seconds()
        if self._others_turn(self._engine.clock.monotonic(), interval) is not None:
            return None
        try:
            return sweep(self._engine)
        finally:
            self.leave()

    def leave(self) -> None:
        """Let another one go on as soon as it looks."""
        self.whose = ""
        self._resign()

    def _resign(self) -> bool:
        try:
            self._engine.store.sweeps.resign(self.name)
        except Exception as error:
            logger.debug("sweeper %s could not resign: %s", self.name, error)
            return False
        return True

    def _others_turn(self, now: float, interval: float) -> float | None:
        """Return for how many seconds it is another's turn, None if it is this one's."""
        if self.whose == self.name and now < self._prolong_at:
            return None
        length = 2 * interval + SPARE
        elected = self._engine.store.sweeps.elect(self.name, length=timedelta(seconds=length))
        self._note(elected)
        if elected.sweeper != self.name:
            return elected.lasts.total_seconds()
        self._prolong_at = now + length / 2
        return None

    def _note(self, elected: Elected) -> None:
        if elected.sweeper == self.whose:
            return
        if elected.sweeper == self.name:
            logger.info("sweeper %s sweeps from now on", self.name)
        else:
            logger.info("sweeper %s stands by: %s sweeps", self.name, elected.sweeper)
        self.whose = elected.sweeper

    def _failed(self, error: Exception) -> None:
        now = self._prolong_at = self._engine.clock.monotonic()  # it asks before it sweeps again
        if self._failure is type(error) and now < self._silent_until:
            return
        self._failure, self._silent_until = type(error), now + SILENCE
        if isinstance(error, StoreUnavailable):
            logger.warning("the database is away, the sweep goes on when it is back: %s", error)
        elif isinstance(error, NothingPublished):
            logger.warning(
                "sweeper %s could publish nothing in %d passes and ends its turn: another may "
                "reach the broker",
                self.name,
                IN_VAIN,
            )
        elif isinstance(error, NotMigrated):
            logger.error("nothing can be swept: %s", error)
        else:
            logger.error("a pass of the sweep failed", exc_info=error)

    def _goes_on(self) -> None:
        if self._failure is not None:
            logger.info("the sweep goes on")
            self._failure = None


def _look_again(interval: float) -> float:
    """Return after how many seconds at most one that stands by looks whose turn it is."""
    return max(interval, SPARE)
