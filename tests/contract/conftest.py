"""What tests of crashes start from: a store, and how to let time pass on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from support.databases import alias_of
from trigger_celery.testing import MemoryStore
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

TimedStore = tuple[MemoryStore | DjangoStore, Callable[[timedelta], object]]


@pytest.fixture(params=["memory", "sqlite"])
def timed_store(request: pytest.FixtureRequest) -> TimedStore:
    """Return the store in memory or the one on SQLite, and what moves its time on."""
    if request.param == "memory":
        memory = MemoryStore()
        return memory, memory.clock.advance
    request.getfixturevalue("transactional_db")
    store = DjangoStore(alias_of("sqlite"))
    return store, partial(advance, store)
