"""Patience with a database that is away: a store whose verbs are called again until it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from trigger_celery.errors import StoreUnavailable, TransactionOpen
from trigger_celery.ports import Clock, Store

T = TypeVar("T")
logger = logging.getLogger("trigger_celery.store")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0

NOUNS = frozenset(
    {
        "runs",
        "managing",
        "checkpoints",
        "children",
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


def patient(store: Store, clock: Clock, patience: Callable[[], timedelta]) -> Store:
    """Return ``store`` with verbs that are called again while the database is away.

    ``patience`` is asked at a failure. A verb takes the same arguments each time, its token
    too, so a commit whose answer was lost is found. Inside an open transaction nothing is
    repeated: what came before in it is lost, and only the code that opened it can do that again.
    """
    return cast(Store, _PatientStore(store, clock, patience))


def persist(verb: Callable[[], T], *, clock: Clock, patience: timedelta) -> T:
    """Return what ``verb`` returns, calling it again after :exc:`StoreUnavailable`.

    Pauses double from 50 ms to 5 s. After ``patience`` the error is raised.
    """
    try:
        return verb()
    except StoreUnavailable as error:
        return _persist(verb, error, clock, patience)


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
                if self._in_transaction():
                    raise
                return _persist(
                    lambda: getattr(owner(), verb)(*args, **kwargs),
                    error,
                    self._clock,
                    self._patience(),
                )

        return call

    def _in_transaction(self) -> bool:
        try:
            self._store.check_boundary("a verb of the store")
        except TransactionOpen:
            return True
        return False


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
