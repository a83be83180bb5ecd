"""A user's key that looks reserved is refused on every database, and the run's own retry works."""

from __future__ import annotations

from functools import partial

import pytest

from support.databases import alias_of, every_database
from trigger_celery import step
from trigger_celery.backoff import RetryPolicy
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.control import get
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.errors import InvalidName
from trigger_celery.testing.drain import drain
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.models import Wait
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

TWICE = RetryPolicy(max_attempts=2, min_delay=5, jitter=False)


@step(key="~retry/1")
def keyed() -> None:
    """Never called: its key is refused."""


def body() -> None:
    with pytest.raises(InvalidName):
        keyed()
    raise ValueError("the second attempt finds its backoff under the key")


@pytest.mark.parametrize("database", every_database(transaction=True))
def test_a_reserved_key_ends_no_run_as_changed_code(database: str) -> None:
    store = DjangoStore(alias_of(database))
    engine = Engine(store=store, tasks=TaskRegistry())
    definition = define(body, name="reserved", retry=TWICE)
    engine.tasks.add(definition)
    before = install_engine(engine)
    try:
        run_id = trigger(engine, definition, ())
        drain(engine, open_runs=lambda: [run_id], advance=partial(advance, store))
    finally:
        install_engine(before)
    run = get(engine, run_id)
    assert (run.state, run.attempt) == (RunState.FAILED, 2)
    assert from_text(run.error or "").kind.endswith("ValueError")
    waits = Wait.objects.using(store.alias).filter(run=run_id)
    assert list(waits.values_list("key", flat=True)) == ["~retry/1"]
