"""The engine: one store, one dispatcher, one codec, and the verbs over them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from trigger_celery.authoring.definition import Registry, registry
from trigger_celery.clock import SystemClock
from trigger_celery.config import Config
from trigger_celery.engine.lease import LeaseKeeper
from trigger_celery.engine.persistence import persist
from trigger_celery.ports import Clock, Codec, Dispatcher, Store
from trigger_celery.records import Nudge
from trigger_celery.values import JsonCodec

T = TypeVar("T")


class NullDispatcher:
    """Publishes nothing: runs start when somebody looks for them."""

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Do nothing; the sweep finds the run."""


def worker_name() -> str:
    """Return ``host:pid`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(kw_only=True)
class Engine:
    """What the verbs of this package work on; one per process and database.

    ``configure`` is asked each time, so settings are live. ``draining`` says whether this
    worker is shutting down and runs should be handed back at their next boundary.
    """

    store: Store
    dispatcher: Dispatcher = field(default_factory=NullDispatcher)
    codec: Codec = field(default_factory=JsonCodec)
    clock: Clock = field(default_factory=SystemClock)
    configure: Callable[[], Config] = Config
    worker: Callable[[], str] = worker_name
    draining: Callable[[], bool] = bool
    tasks: Registry = field(default_factory=lambda: registry)

    @property
    def config(self) -> Config:
        """The settings as they are now."""
        return self.configure()

    @cached_property
    def leases(self) -> LeaseKeeper:
        """Who renews the leases of this process."""
        return LeaseKeeper(self.store, self.clock)

    @cached_property
    def known_versions(self) -> set[str]:
        """Digests of sources that this process saw stored."""
        return set()

    def persist(self, verb: Callable[[], T]) -> T:
        """Call a verb of the store, again and again while the database is away."""
        return persist(verb, clock=self.clock, patience=self.config.database_patience)
