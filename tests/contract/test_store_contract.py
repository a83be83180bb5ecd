"""Every store keeps the laws of the port."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import transaction

from support.databases import alias_of, every_database
from trigger_celery.testing import MemoryStore, StoreContract
from trigger_celery.testing.contract.tools import Advance, Begin
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance


class TestMemoryStore(StoreContract):
    """The store in memory, on a clock that the test moves."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def advance(self, store: MemoryStore) -> Advance:
        return store.clock.advance

    @pytest.fixture
    def begin(self, store: MemoryStore) -> Begin:
        return store.transaction


@pytest.mark.parametrize("database", every_database(transaction=True))
class TestDjangoStore(StoreContract):
    """The store on each database, whose rows grow older when the test says so."""

    @pytest.fixture
    def store(self, database: str, transactional_db: None) -> DjangoStore:
        return DjangoStore(alias_of(database))

    @pytest.fixture
    def advance(self, store: DjangoStore) -> Advance:
        return partial(advance, store)

    @pytest.fixture
    def begin(self, store: DjangoStore) -> Begin:
        return partial(transaction.atomic, using=store.alias)
