"""Leases: what a worker may do under one, and the heartbeat that renews all of a process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from trigger_celery.engine.process.system_threads import call_apart
from trigger_celery.errors import LeaseLost, StoreUnavailable
from trigger_celery.ports import Clock, Store
from trigger_celery.vocabulary.clock import SystemClock
from trigger_celery.vocabulary.records import Lease

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("trigger_celery.lease")

_CLOCK = SystemClock()


class Holding:
    """A lease in this process's hands. ``paused`` says that a person holds the run.

    ``stuck`` are steps that do not come back after their timeout: meanwhile the lease is not
    renewed, so that the run goes on elsewhere.

    Its deadline counts from before the claim or renewal was *sent*: an answer that took
    longer than the lease cannot make a stale owner trust it.
    """

    def __init__(self, lease: Lease, length: float, sent_at: float, clock: Clock = _CLOCK) -> None:
        self.lease = lease
        self.length = length
        self._clock = clock
        self.deadline = sent_at + length
        self.lost = False
        self.paused = False
        self.stuck: set[object] = set()

    def check(self) -> None:
        """Raise :exc:`LeaseLost` if another worker may own the run by now."""
        if self.lost or self._clock.monotonic() >= self.deadline:
            self.lost = True
            raise LeaseLost(f"the lease of run {self.lease.run_id} ran out or was taken over")

    def write(
        self, verb: Callable[Concatenate[Lease, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a verb of a patient store under this lease.

        A database that stays away longer than we are patient is as good as a lost lease: what
        was to be written is dropped, and the run goes on elsewhere when its lease expires.
        Raises :exc:`LeaseLost` for both.
        """
        try:
            return verb(self.lease, *args, **kwargs)
        except StoreUnavailable as error:
            raise _away(error) from error

    def outlast(self, work: Callable[[], T]) -> T:
        """Do other work of the owner that needs the database; raise as :meth:`write` does."""
        try:
            return work()
        except StoreUnavailable as error:
            raise _away(error) from error

    @property
    def is_kept(self) -> bool:
        """Whether the lease is to be renewed."""
        return not (self.lost or self.stuck)

    @property
    def renew_at(self) -> float:
        """When the next renewal is due: a third of the lease after the last one was sent."""
        return self.deadline - self.length * 2 / 3

    def extend(self, sent_at: float) -> None:
        """Note a renewal that was sent at this time and granted."""
        self.deadline = max(self.deadline, sent_at + self.length)


class LeaseKeeper:
    """Renews what is held; starts its thread at the first long holding of a process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._held: dict[Lease, Holding] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    @contextmanager
    def holding(self, lease: Lease, length: timedelta, *, sent_at: float) -> Iterator[Holding]:
        """Renew ``lease`` while the block runs. ``sent_at`` is when its claim was sent."""
        held = Holding(lease, length.total_seconds(), sent_at, self._clock)
        if self._pid != os.getpid():  # a fork copies the object but not its thread
            self._reset()
        with self._changed:
            self._held[lease] = held
            self._ensure_thread(held)
        try:
            yield held
        finally:
            with self._changed:
                self._held.pop(lease, None)

    def renew_now(self, held: Holding) -> None:
        """Renew one lease from wherever its body is; a database that is away does not disturb it.

        Django refuses to use a connection in a thread with an event loop: a helper does it there.
        """
        if not _in_event_loop():
            self._renew_one(held)
            return
        call_apart(partial(self._renew_apart, held), name="trigger-celery-heartbeat-now")

    def _renew_one(self, held: Holding) -> None:
        try:
            self.renew([held])
        except StoreUnavailable as error:
            logger.warning("heartbeat of run %s failed: %s", held.lease.run_id, error)

    def _renew_apart(self, held: Holding) -> None:
        self._store.leave_pool()
        try:
            self._renew_one(held)
        finally:
            self._store.release()

    def renew(self, holdings: list[Holding]) -> None:
        """Extend these holdings with one update and mark those that were lost."""
        sent_at = self._clock.monotonic()
        kept = self._store.runs.renew([held.lease for held in holdings])
        for held in holdings:
            if held.lease in kept:
                held.extend(sent_at)
                held.paused = kept[held.lease]
            else:
                held.lost = True

    def _ensure_thread(self, held: Holding) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._wakes_at = held.renew_at
            self._thread = threading.Thread(
                target=self._keep, name="trigger-celery-heartbeat", daemon=True
            )
            self._thread.start()
        elif held.renew_at < self._wakes_at:
            self._changed.notify()

    def _keep(self) -> None:
        self._store.leave_pool()
        while True:
            with self._changed:
                pause = self._pause()
                self._wakes_at = self._clock.monotonic() + pause
                self._changed.wait(pause)
                now = self._clock.monotonic()
                due = [h for h in self._held.values() if h.renew_at <= now and h.is_kept]
                if due:  # take along leases that are due soon: one update serves all
                    due = [h for h in self._held.values() if h.is_kept]
            if due:
                self._beat(due)

    def _pause(self) -> float:
        """How long nothing has to be renewed: idle workers look up once a minute."""
        now = self._clock.monotonic()
        times = [held.renew_at for held in self._held.values() if held.is_kept]
        return max(0.01, min(times, default=now + 60) - now)

    def _beat(self, due: list[Holding]) -> None:
        try:
            self.renew(due)
        except StoreUnavailable as error:
            logger.warning("heartbeat of %d runs failed: %s", len(due), error)
            self._clock.sleep(min(1.0, min(held.length for held in due) / 10))
        except Exception:
            logger.exception("heartbeat of %d runs failed", len(due))
            self._clock.sleep(1.0)
        try:
            self._store.release()
        except Exception:  # the thread goes on: all leases of the process hang on it
            logger.exception("the heartbeat's connection could not be closed")


def _away(error: StoreUnavailable) -> LeaseLost:
    return LeaseLost(f"the database stayed away: {error}")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
