"""Every store keeps the laws of the port."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest
from django.db import transaction

from support.databases import alias_of, every_database
from trigger_celery.testing import MemoryStore, StoreContract
from trigger_celery.testing.contract.tools import Advance, Begin, DeadLetters
from trigger_celery_django.models import DeadLetter
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
    def dead_letters(self, store: MemoryStore) -> DeadLetters:
        def states(run_id: UUID) -> Sequence[str]:
            return [letter.state for letter in store.dead_letters() if letter.run_id == run_id]

        return states

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
    def dead_letters(self, store: DjangoStore) -> DeadLetters:
        def states(run_id: UUID) -> Sequence[str]:
            found = DeadLetter.objects.using(store.alias).filter(run=run_id)
            return list(found.values_list("state", flat=True))

        return states

    @pytest.fixture
    def begin(self, store: DjangoStore) -> Begin:
        return partial(transaction.atomic, using=store.alias)
