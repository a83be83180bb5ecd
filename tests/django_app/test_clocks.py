"""The clock of the database is set back, or differs from that of this process."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from support.databases import alias_of, every_database
from trigger_celery.testing.contract.tools import asked, queued
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun
from trigger_celery_django import models
from trigger_celery_django.store import DjangoStore

MINUTE = timedelta(minutes=1)
WHEN = ("created_at", "available_at", "due_at")


def set_back(store: DjangoStore) -> None:
    """Set the clock back by a minute, as the rows see it."""
    runs = models.Run.objects.using(store.alias)
    runs.update(**{name: F(name) + MINUTE for name in WHEN})


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_run_without_a_delay_starts_though_the_clock_was_set_back(name: str) -> None:
    store = DjangoStore(alias_of(name))
    run_id = queued(store)
    set_back(store)
    assert store.runs.claim(asked(run_id)) is not None


@pytest.mark.parametrize("name", every_database(transaction=True))
def test_a_run_with_a_delay_waits_until_the_clock_is_there(name: str) -> None:
    store = DjangoStore(alias_of(name))
    new = NewRun(id=new_id(), task="t", input="[[],{}]", delay=timedelta(seconds=1))
    store.runs.create([new])
    set_back(store)
    assert store.runs.claim(asked(new.id)) is None
