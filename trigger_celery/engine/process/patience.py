"""Patience with a database that is away: a store whose verbs are called again until it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

from trigger_celery.config import Config
from trigger_celery.errors import StoreUnavailable
from trigger_celery.ports import Clock, Store

T = TypeVar("T")
logger = logging.getLogger("trigger_celery.store")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0

NOUNS = frozenset(
    {
        "bulk_operations",
        "runs",
        "managing",
        "checkpoints",
        "children",
        "dead_letters",
        "waits",
        "events",
        "subscriptions",
        "keys",
        "sweeps",
        "tokens",
        "open_waits",
        "schedules",
        "queues",
    }
)
"""The parts of a store whose verbs are repeated; what stands beside them opens transactions."""


_in_worker: ContextVar[bool] = ContextVar("trigger_celery_in_worker", default=False)
_again: ContextVar[bool | None] = ContextVar("trigger_celery_again", default=None)
"""Within work that is repeated as a whole: whether this is a repeat; None anywhere else."""


@contextmanager
def worker_patience() -> Iterator[None]:
    """Wait for the database inside as a worker may: what it calls belongs to runs."""
    before = _in_worker.set(True)
    try:
        yield
    finally:
        _in_worker.reset(before)


@contextmanager
def no_patience() -> Iterator[None]:
    """Repeat nothing inside: what calls it comes again by itself, as a sweep does."""
    before = _again.set(False)
    try:
        yield
    finally:
        _again.reset(before)


def following(callback: Callable[[], object]) -> None:
    """Call what follows a commit, which outside of workers waits for no database.

    The caller has what it asked for, and the sweep makes up for the rest.
    """
    before = _again.set(None if _in_worker.get() else False)
    try:
        callback()
    finally:
        _again.reset(before)


def patience_here(config: Config) -> timedelta:
    """Return how long a verb that is called here is repeated while the database is away."""
    if _again.get() is not None:
        return timedelta(0)
    return config.database_patience if _in_worker.get() else config.call_patience


def patient(store: Store, clock: Clock, patience: Callable[[], timedelta]) -> Store:
    """Return ``store`` with verbs that are called again while the database is away.

    ``patience`` is asked at a failure. A verb takes the same arguments each time, its token
    too, so a commit whose answer was lost is found.
    """
    return cast(Store, _PatientStore(store, clock, patience))


def persist(work: Callable[[bool], T], *, clock: Clock, patience: Callable[[], timedelta]) -> T:
    """Return what ``work`` returns, calling it again after :exc:`StoreUnavailable`.

    ``work`` gets whether this is a repeat: then what it wants may be done already. Pauses
    double from 50 ms to 5 s; after ``patience`` the error is raised. Work within work is
    repeated with it, not by itself.
    """
    again = _again.get()
    if again is not None:
        return work(again)
    try:
        return _attempt(work, again=False)
    except StoreUnavailable as error:
        return _persist(partial(_attempt, work, again=True), error, clock, patience())


def _attempt(work: Callable[[bool], T], *, again: bool) -> T:
    before = _again.set(again)
    try:
        return work(again)
    finally:
        _again.reset(before)


def _persist(
    verb: Callable[[], T], error: StoreUnavailable, clock: Clock, patience: timedelta
) -> T:
    give_up = clock.monotonic() + patience.total_seconds()
    pause = FIRST_PAUSE
    while clock.monotonic() + pause <= give_up:
        logger.warning("the database is away, trying again in %.2f s: %s", pause, error)
        clock.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
        try:
            return verb()
        except StoreUnavailable as again:
            error = again
    raise error


class _PatientStore:
    """A store; each of its nouns is made once and kept among its attributes."""

    def __init__(self, store: Store, clock: Clock, patience: Callable[[], timedelta]) -> None:
        self._store = store
        self._clock = clock
        self._patience = patience
        self.now = self._patient(lambda: store, "now")
        self.remember_version = self._patient(lambda: store, "remember_version")

    def __getattr__(self, name: str) -> Any:
        if name not in NOUNS:
            return getattr(self._store, name)
        noun = _PatientNoun(self, name)
        setattr(self, name, noun)
        return noun

    def _patient(self, owner: Callable[[], object], verb: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(owner(), verb)(*args, **kwargs)
            except StoreUnavailable as error:
                return _persist(
                    lambda: getattr(owner(), verb)(*args, **kwargs),
                    error,
                    self._clock,
                    self._patience(),
                )

        return call


class _PatientNoun:
    """The verbs of one noun; each is made once and kept among its attributes."""

    def __init__(self, store: _PatientStore, name: str) -> None:
        self._patient_store = store
        self._name = name

    def __getattr__(self, verb: str) -> Any:
        store, name = self._patient_store, self._name
        call = store._patient(lambda: getattr(store._store, name), verb)
        setattr(self, verb, call)
        return call
