"""What is prepared on a PostgreSQL server: the frequent statements of ours, and no others."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.db import ProgrammingError, connections, transaction

from support.databases import alias_of
from trigger_celery.testing.contract.tools import checkpoint, started
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.postgresql import preparing

DEALLOCATE = "DEALLOCATE ALL"
PREPARED = "SELECT statement FROM pg_prepared_statements"


pytestmark = [
    pytest.mark.requires("postgres"),
    pytest.mark.django_db(databases=[alias_of("postgres")], transaction=True),
]


@pytest.fixture
def store() -> Iterator[DjangoStore]:
    """Return a store whose connection is new, and on which this process may prepare."""
    store = DjangoStore(alias_of("postgres"))
    connections[store.alias].close()  # what is prepared is the connection's
    yield store
    preparing.refused.discard(store.alias)


def prepared(store: DjangoStore) -> list[str]:
    """Return the statements that the server has prepared for this connection."""
    with connections[store.alias].cursor() as cursor:
        cursor.execute(PREPARED)
        return [statement for (statement,) in cursor.fetchall()]


def test_with_djangos_own_settings_only_our_statements_are_prepared(store: DjangoStore) -> None:
    connection = connections[store.alias]
    assert "prepare_threshold" not in connection.settings_dict["OPTIONS"]
    for name in ("first", "second"):
        store.checkpoints.record(started(store), checkpoint(store, name))
        for _ in range(10):
            list(Run.objects.using(store.alias).filter(task="unprepared"))
    statements = prepared(store)
    assert len(statements) == 3  # create, claim, record
    assert not any("unprepared" in statement or "ORDER BY" in statement for statement in statements)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [(None, "DISABLE_SERVER_SIDE_CURSORS", True), ("OPTIONS", "prepare_threshold", None)],
)
def test_settings_that_forbid_it_are_honoured(
    store: DjangoStore,
    monkeypatch: pytest.MonkeyPatch,
    where: str | None,
    name: str,
    value: object,
) -> None:
    settings = connections[store.alias].settings_dict
    monkeypatch.setitem(settings if where is None else settings[where], name, value)
    for step in ("first", "second"):
        store.checkpoints.record(started(store), checkpoint(store, step))
    assert prepared(store) == []


@pytest.mark.parametrize("command", [DEALLOCATE, "PREPARE _pg3_0 AS SELECT 1"])
def test_a_server_changed_by_a_pooler_ends_preparing_and_costs_nothing(
    store: DjangoStore, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    connection = connections[store.alias]
    if command == DEALLOCATE:  # another server, where nothing of ours is
        store.checkpoints.record(started(store), checkpoint(store, "before"))
    connection.ensure_connection()
    connection.connection.pgconn.exec_(command.encode())  # psycopg does not notice
    with caplog.at_level(logging.WARNING, "trigger_celery.store"):
        for step in ("first", "second"):
            store.checkpoints.record(started(store), checkpoint(store, step))
    [said] = caplog.messages
    assert '"DISABLE_SERVER_SIDE_CURSORS": True' in said
    with connection.cursor() as cursor:
        cursor.execute(DEALLOCATE)
    store.checkpoints.record(started(store), checkpoint(store, "third"))
    assert prepared(store) == []


def test_a_clash_within_a_transaction_of_the_caller_is_an_error_that_names_the_setting(
    store: DjangoStore,
) -> None:
    connection = connections[store.alias]
    with connection.cursor() as cursor:
        cursor.execute("PREPARE _pg3_0 AS SELECT 1")
    with (
        pytest.raises(ProgrammingError) as raised,
        transaction.atomic(using=store.alias),
    ):
        started(store)
    assert "DISABLE_SERVER_SIDE_CURSORS" in raised.value.__notes__[0]
    started(store)
