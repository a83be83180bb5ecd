"""The engine: one store, one dispatcher, one codec, and the verbs over them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import TypeVar
from uuid import UUID

from trigger_celery.config import Config
from trigger_celery.declare.definition import (
    EventTrigger,
    TaskDefinition,
    TaskRegistry,
    declared_tasks,
)
from trigger_celery.engine.process.alarm import Alarm, AlarmThread
from trigger_celery.engine.process.discovery import Discovery
from trigger_celery.engine.process.leases import LeaseKeeper
from trigger_celery.engine.process.patience import following, patience_here, patient, persist
from trigger_celery.errors import TransactionOpen
from trigger_celery.ports import Clock, Codec, Dispatcher, Store
from trigger_celery.values import JsonCodec
from trigger_celery.vocabulary.clock import SystemClock
from trigger_celery.vocabulary.news import Listeners, NoListeners
from trigger_celery.vocabulary.records import Limits, Nudge

T = TypeVar("T")


@dataclass(slots=True)
class Purging:
    """Where the next purge of events goes on, and when: a reading of the process's clock."""

    after: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class LeftOver:
    """After which event the next look for left-over ones goes on, and which failed before."""

    after: int = 0
    failed: set[int] = field(default_factory=set)


@dataclass(slots=True)
class StoredQueues:
    """What this process stored of durable queues, and when it cleans up there.

    ``claimed`` are the tasks whose limits were stored before their first claim.
    ``clean_up_at`` is a reading of the process's clock, and so is ``left_to_others``: since
    when, by line, others are relied on to let in waiting runs.
    """

    tasks: frozenset[str] = frozenset()
    limits: Mapping[str, Limits] = field(default_factory=dict)
    is_stored: bool = False
    claimed: set[str] = field(default_factory=set)
    clean_up_at: float = 0.0
    left_to_others: dict[str, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Store all of it again: the store may have lost it."""
        self.is_stored = False
        self.claimed.clear()


class NullDispatcher:
    """Publishes nothing: runs start when a worker or a sweep looks for them."""

    refusals = 0

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Do nothing; the sweep finds the run."""

    def route(self, nudge: Nudge) -> str:
        """Return one way for all."""
        return ""

    def backlog(self, nudge: Nudge) -> int | None:
        """Return that it is not known."""
        return None


def worker_name() -> str:
    """Return ``host:pid`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(kw_only=True)
class Engine:
    """What the verbs of this package work on; one per process and database.

    ``configure`` is asked each time, so settings are live. ``draining`` says whether this
    worker is shutting down and runs should be handed back at their next boundary.
    ``token_url`` returns the signed URL of a token; by default there is none to serve it.
    ``canvas_of`` makes of a task's name and a priority what the dispatcher must know of a run,
    ``canvas_of_copy`` makes of a run's canvas that of a new one that owes its callers nothing.
    ``listeners`` get the news of what has happened. ``discover`` imports the modules in which the
    project declares its tasks; it is called when the first unknown one is looked up.
    ``beside_plain_tasks`` says whether the calling thread may work for something that is no run.
    ``watches_changes`` says that steps are watched whatever the setting says, as in tests.
    """

    store: Store
    dispatcher: Dispatcher = field(default_factory=NullDispatcher)
    codec: Codec = field(default_factory=JsonCodec)
    clock: Clock = field(default_factory=SystemClock)
    configure: Callable[[], Config] = Config
    worker: Callable[[], str] = worker_name
    draining: Callable[[], bool] = bool
    tasks: TaskRegistry = field(default_factory=lambda: declared_tasks)
    token_url: Callable[[UUID], str] = lambda token_id: f"/tokens/{token_id}/"
    canvas_of: Callable[[str, int | None], str] = lambda task, priority: ""
    canvas_of_copy: Callable[[str], str] = lambda canvas: ""
    listeners: Listeners = field(default_factory=NoListeners)
    discover: Callable[[], None] = lambda: None
    beside_plain_tasks: Callable[[], bool] = bool
    watches_changes: bool = False
    discovery: Discovery = field(default_factory=Discovery, init=False, repr=False, compare=False)
    _patient: tuple[Store | None, Store] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._patient = (None, self.store)

    @property
    def config(self) -> Config:
        """The settings as they are now."""
        return self.configure()

    @cached_property
    def leases(self) -> LeaseKeeper:
        """What renews the leases of this process."""
        return LeaseKeeper(self.store, self.clock)

    @cached_property
    def alarm(self) -> Alarm:
        """What calls back later, in this process."""
        return AlarmThread(self.clock, self.store)

    @cached_property
    def subscribed(self) -> dict[str, EventTrigger | None]:
        """By task, the event that starts its runs, as this process stored it."""
        return {}

    @cached_property
    def scheduled(self) -> list[TaskDefinition]:
        """The tasks whose schedules this process stored."""
        return []

    @cached_property
    def purging(self) -> Purging:
        """How far this process has looked for events that no run needs any more."""
        return Purging()

    @cached_property
    def left_over(self) -> LeftOver:
        """How far this process has looked for events that no sender matched."""
        return LeftOver()

    @cached_property
    def shapes(self) -> dict[str, Sequence[str]]:
        """By event name, the shapes of waits that this process saw last."""
        return {}

    @cached_property
    def known_versions(self) -> set[str]:
        """Digests of sources that this process saw stored."""
        return set()

    @cached_property
    def stored_queues(self) -> StoredQueues:
        """What this process stored of durable queues."""
        return StoredQueues()

    @cached_property
    def known_queues(self) -> set[str]:
        """Names of queues that this process saw stored and does not declare itself."""
        return set()

    def task(self, name: str) -> TaskDefinition | None:
        """Return the definition of a task, None if nothing that this process can import has it."""
        found = self.tasks.get(name)
        if found is None:
            self.discovery.once(self.discover)
            found = self.tasks.get(name)
        return found

    @property
    def patient(self) -> Store:
        """The store whose verbs are repeated while the database is away.

        In a worker for ``DATABASE_PATIENCE``, elsewhere for ``CALL_PATIENCE``, in a transaction
        of the caller not at all: what came before in it is lost, and its owner alone can do that
        again. :attr:`store` fails at once: for what comes again by itself, as the sweep and
        the heartbeat.
        """
        wrapped, patient_store = self._patient
        if wrapped is not self.store:
            patient_store = patient(self.store, self.clock, self._patience)
            self._patient = (self.store, patient_store)
        return patient_store

    def persist(self, work: Callable[[], T]) -> T:
        """Do ``work`` of several verbs, or in a transaction, again while the database is away."""
        return self.resolve(lambda again: work())

    def resolve(self, work: Callable[[bool], T]) -> T:
        """Do as :meth:`persist`; ``work`` gets whether an answer may have been lost before."""
        return persist(work, clock=self.clock, patience=self._patience)

    def briefly(self, work: Callable[[], T], patience: timedelta) -> T:
        """Do as :meth:`persist`, but no longer than ``patience``."""
        return persist(
            lambda again: work(),
            clock=self.clock,
            patience=lambda: min(patience, self._patience()),
        )

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the caller's transaction commits, now if there is none.

        What fails then is logged and left to the sweep: what was asked for is done.
        """
        self.store.on_commit(partial(following, callback))

    def _patience(self) -> timedelta:
        try:
            self.store.check_boundary("a verb of the store")
        except TransactionOpen:
            return timedelta(0)
        return patience_here(self.config)
