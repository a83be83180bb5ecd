"""Many claimers that race for the slots of durable queues, and operators who disturb them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from queue import Empty, Queue
from threading import Event, RLock
from uuid import UUID

from django.db import connections

from support.waiting import eventually
from trigger_celery.client.access import using_engine
from trigger_celery.client.queues import limit_queue, pause_queue, resume_queue
from trigger_celery.engine.core import Engine, NullDispatcher
from trigger_celery.engine.queues import admission
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import begin
from trigger_celery.errors import LeaseLost
from trigger_celery.ports import Clock
from trigger_celery.testing.alarm import ManualAlarm
from trigger_celery.vocabulary.identity import new_token
from trigger_celery.vocabulary.records import (
    Claim,
    Claimed,
    Ending,
    NewRun,
    NewWait,
    Nudge,
    StepKind,
    Suspend,
)
from trigger_celery.vocabulary.states import TERMINAL, RunState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.store import DjangoStore

CLAIMERS_OF = {"sqlite": 8}
"""SQLite has one writer at a time: of fifty claimers all but a few would wait, and use CPU."""
CLAIMERS = 50
SEED = 20261122
PATIENCE = 200
"""Seconds after which every run must have ended."""
_LEASE = timedelta(minutes=5)
_NAP = timedelta(milliseconds=5)
_LAST_FENCE = 4
"""From this claim on a run ends: it was left often enough."""


@dataclass
class Mail(NullDispatcher):
    """Implements a dispatcher whose messages the claimers of the storm take out."""

    # Not a SimpleQueue: with many readers, its get() of Python 3.11 may outwait its timeout.
    posted: Queue[Nudge] = field(default_factory=Queue)

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Post them."""
        for nudge in nudges:
            self.posted.put(nudge)


class SharedAlarm(ManualAlarm):
    """An alarm that one thread rings and others set."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._lock = RLock()

    def set(self, key: str, pause: timedelta, callback: Callable[[], object]) -> None:
        """Keep the call until it is rung."""
        with self._lock:
            super().set(key, pause, callback)

    def ring(self) -> int:
        """Make the calls whose moment has come; others wait until they are made."""
        with self._lock:
            return super().ring()


class Storm:
    """Fifty claimers of one database, eight of SQLite.

    Each holds its slot for ``hold`` seconds at most.

    ``strays`` is how often a claimer asks for a run that it got no nudge of. With ``leaves``
    runs also go out by waiting, by being handed back and by the death of their worker.
    Only the engine's own admissions look for runs in line: there is no sweep of queues.
    """

    def __init__(
        self, alias: str, *, hold: float = 0.1, strays: float = 0.3, leaves: bool = True
    ) -> None:
        self.alias, self._hold, self._strays, self._leaves = alias, hold, strays, leaves
        self.mail = Mail()
        self.engine = Engine(store=DjangoStore(alias), dispatcher=self.mail, configure=config)
        self._alarm = self.engine.alarm = SharedAlarm(self.engine.clock)
        self._over, self._go = Event(), Event()
        self._go.set()
        self._runs: list[NewRun] = []

    @property
    def store(self) -> DjangoStore:
        """The store."""
        store = self.engine.store
        assert isinstance(store, DjangoStore)
        return store

    def create(self, runs: Sequence[NewRun]) -> None:
        """Create runs, and let in those that may begin, as a trigger does."""
        created = self.store.runs.create(runs)
        self._runs += runs
        begin(self.engine, runs, created)

    @contextmanager
    def raging(self) -> Iterator[None]:
        """Let the claimers loose; end once each run has ended. What went wrong is raised."""
        claimers = CLAIMERS_OF.get(connections[self.alias].vendor, CLAIMERS)
        with ThreadPoolExecutor(claimers + 1) as pool:
            workers: list[Future[None]] = [
                pool.submit(
                    self._in_thread, partial(self._claim, number, random.Random(SEED + number))
                )
                for number in range(claimers)
            ]
            workers.append(pool.submit(self._in_thread, self._sweep))
            try:
                yield
                eventually(self._is_over, PATIENCE, "every run has ended")
            finally:
                self._over.set()
                self._go.set()
                for worker in workers:  # what went wrong there comes first
                    worker.result(timeout=30)
        assert not self.unfinished()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let no run leave its slot during the block."""
        self._go.clear()
        try:
            yield
        finally:
            self._go.set()

    def _is_over(self) -> bool:
        return self._over.is_set() or not self.unfinished()

    def unfinished(self) -> list[tuple[UUID, str]]:
        """Return the runs that have not ended, with their states."""
        runs = models.Run.objects.using(self.alias).exclude(state__in=TERMINAL)
        return list(runs.values_list("id", "state"))

    def cancel(self, number: int, dice: random.Random) -> None:
        """Cancel so many runs, whatever they do."""
        for run in dice.sample(self._runs, number):
            run_control.cancel(self.engine, run.id, "the storm")

    def limit(self, name: str, concurrency: int) -> None:
        """Let people change a limit."""
        with using_engine(self.engine):
            limit_queue(name, concurrency_limit=concurrency)

    def pause(self, name: str) -> None:
        """Let people pause a queue."""
        with using_engine(self.engine):
            assert pause_queue(name)

    def resume(self, name: str) -> None:
        """Let people resume it."""
        with using_engine(self.engine):
            assert resume_queue(name)

    def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._over.set()
            connections.close_all()

    def _claim(self, number: int, dice: random.Random) -> None:
        while not self._over.is_set():
            run = self._next(dice)
            if run is not None:
                self._play(run, f"storm:{number}", dice)

    def _next(self, dice: random.Random) -> tuple[UUID, str] | None:
        """Return a run of a nudge, or sometimes one without a nudge."""
        with suppress(Empty):
            nudge = self.mail.posted.get(timeout=0.3)
            return nudge.run_id, nudge.task
        if self._runs and dice.random() < self._strays:
            run = dice.choice(self._runs)
            return run.id, run.task
        return None

    def _play(self, run: tuple[UUID, str], worker: str, dice: random.Random) -> None:
        run_id, task = run
        ask = Claim(
            run_id=run_id, task=task, worker=worker, version="", length=_LEASE, token=new_token()
        )
        sent_at = self.engine.clock.monotonic()
        claimed = self.engine.persist(partial(self.store.runs.claim, ask))
        if claimed is None:
            return
        if claimed.publishing:
            self.engine.persist(partial(self.store.runs.published, claimed.lease))
            return
        time.sleep(dice.uniform(0, self._hold))
        self._go.wait(timeout=PATIENCE)
        try:
            with suppress(LeaseLost):  # it was canceled
                self._leave(claimed, worker, dice)
        finally:
            admission.left(self.engine, claimed, since=sent_at)

    def _leave(self, claimed: Claimed, worker: str, dice: random.Random) -> None:
        lease, token = claimed.lease, new_token()
        ways = ["end"] * 4
        if self._leaves and lease.fence < _LAST_FENCE:
            ways += ["wait", "hand back"] + ["die"] * (not claimed.run.crashes)
        way = dice.choice(ways)
        if way == "end":
            ending = Ending(state=RunState.COMPLETED, token=token, publish=False)
            self.engine.persist(partial(self.store.runs.end, lease, ending))
        elif way == "wait":
            key = f"nap-{lease.fence}"
            wait = NewWait(key=key, kind=StepKind.SLEEP, position=lease.fence, delay=_NAP)
            suspend = Suspend(waits=(wait,), keys=(key,), next_attempt=1, token=token)
            verb = partial(self.store.waits.suspend, lease, suspend, look_within=_LEASE)
            self.engine.persist(verb)
        elif way == "hand back":
            back = self.engine.persist(partial(self.store.runs.hand_back, lease, token))
            self.mail.nudge([back])
        else:
            lost = self.engine.persist(partial(self.store.runs.recover, lease.run_id, worker))
            self.mail.nudge([lost] if lost is not None else [])

    def _sweep(self) -> None:
        """Do what time alone does: end naps, nudge promised runs again, ring alarms."""
        while not self._over.wait(0.02):
            due = self.engine.persist(
                partial(self.store.sweeps.due, limit=200, nudge_interval=config().nudge_interval)
            )
            self.mail.nudge(due.nudges)
            self._alarm.ring()
