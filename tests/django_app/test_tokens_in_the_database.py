"""Tokens on real databases: with the transactions of user code, from sync and async bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction
from django.test import Client

from support.databases import alias_of, every_database
from support.store_rows import sent
from trigger_celery import Token, complete_token, create_token, step, wait_for_token
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import TaskRegistry, define
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing import drain
from trigger_celery_django.links import token_url
from trigger_celery_django.models import Run
from trigger_celery_django.models import Token as TokenRow
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.testing import advance

NOW = timedelta(0)
everywhere = pytest.mark.parametrize("database", every_database(transaction=True))


class RecordedCall:
    """An engine on one database, installed for a test, and its runs carried on by hand."""

    def __init__(self, alias: str) -> None:
        self.store = DjangoStore(alias)
        self.engine = Engine(store=self.store, tasks=TaskRegistry(), token_url=token_url)

    def start(self, body: Callable[..., Any], *args: object) -> UUID:
        """Start a run of the body and carry it on until it waits."""
        definition = define(body, name=body.__name__)
        self.engine.tasks.add(definition)
        run_id = trigger(self.engine, definition, args)
        self.go_on()
        return run_id

    def go_on(self, length: timedelta = NOW) -> None:
        """Carry all runs on, for so much time of the database."""
        runs = Run.objects.using(self.store.alias)
        drain(
            self.engine,
            open_runs=lambda: runs.values_list("pk", flat=True),
            advance=partial(advance, self.store),
            max_virtual_time=length,
        )

    def result(self, run_id: UUID) -> object:
        """Return what a completed run returned."""
        run = self.store.runs.get(run_id)
        assert run is not None
        assert run.output is not None, run
        return self.engine.codec.decode(run.output)

    def token(self) -> TokenRow:
        """Return the only token."""
        return TokenRow.objects.using(self.store.alias).get()


@pytest.fixture
def place(database: str, transactional_db: None) -> Iterator[RecordedCall]:
    place = RecordedCall(alias_of(database))
    before = install_engine(place.engine)
    yield place
    install_engine(before)


@step(atomic=True)
def invite() -> Token:
    token: Token = create_token(timeout=60, tags=["a", "b"])
    return token


def from_a_step() -> Any:
    return wait_for_token(invite(), timeout=600)


def from_the_body() -> Any:
    return wait_for_token(create_token(), timeout=600)


async def from_an_async_body() -> Any:
    return await wait_for_token(await create_token(timeout=60), timeout=600)


@everywhere
@pytest.mark.parametrize("body", [from_a_step, from_the_body, from_an_async_body])
def test_a_completion_wakes_the_run_with_its_commit(
    place: RecordedCall, body: Callable[..., Any]
) -> None:
    run_id = place.start(body)
    token_id = place.token().pk
    with suppress(ZeroDivisionError), transaction.atomic(using=place.store.alias):
        complete_token(token_id, "lost")
        raise ZeroDivisionError
    with transaction.atomic(using=place.store.alias):
        complete_token(token_id, {"approved": True}, by="ann")
    assert place.token().settled_at is not None
    place.go_on()
    assert place.result(run_id) == {"approved": True}


@everywhere
def test_a_wait_ends_with_the_time_of_its_token(place: RecordedCall) -> None:
    def flow() -> Any:
        return wait_for_token(create_token(timeout=60), timeout=600, default="none")

    run_id = place.start(flow)
    place.go_on(timedelta(seconds=59))
    with pytest.raises(AssertionError):
        place.result(run_id)
    place.go_on(timedelta(seconds=90))
    assert place.result(run_id) == "none"


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("database", ["sqlite"])
@pytest.mark.django_db(databases=[alias_of("sqlite")], transaction=True)
def test_a_post_answers_after_the_commit(
    place: RecordedCall, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections[place.store.alias].settings_dict, "ATOMIC_REQUESTS", atomic)
    run_id = place.start(from_the_body)
    url = token_url(place.token().pk)
    response = Client().post(url, "7", content_type="application/json")
    assert response.status_code == 200
    assert place.token().settled_at is not None
    place.go_on()
    assert place.result(run_id) == 7
    assert Client().post(url, "8", content_type="application/json").status_code == 409


@everywhere
def test_an_idle_sweep_asks_for_closed_tokens_with_one_statement(place: RecordedCall) -> None:
    place.store.tokens.unsettled(limit=9)
    with sent(place.store.alias) as statements:
        assert list(place.store.tokens.unsettled(limit=9)) == []
    assert len(statements) == 1
