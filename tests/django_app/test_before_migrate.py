"""A database without our tables: one clear error, and one line of a sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from support.databases import alias_of, every_database
from trigger_celery.client.access import using_engine
from trigger_celery.engine.core import Engine
from trigger_celery.engine.upkeep.sweeper import Sweeper
from trigger_celery.errors import NotMigrated
from trigger_celery_django.store import DjangoStore
from trigger_celery_django.store.common.guard import Guard

SQLITE = alias_of("sqlite")


@pytest.mark.parametrize("database", every_database())
def test_a_missing_table_is_named_with_the_command_that_makes_it(database: str) -> None:
    # On the guard itself: a table cannot be taken away in a transaction on every database.
    guard = Guard(alias_of(database))

    def read() -> None:
        with guard.connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM trigger_celery_not_there")

    with pytest.raises(NotMigrated, match=f"migrate trigger_celery --database {guard.alias}"):
        guard.read(read)


@contextmanager
def no_tables() -> Iterator[None]:
    rename = "ALTER TABLE trigger_celery_{} RENAME TO trigger_celery_{}"
    with connections[SQLITE].cursor() as cursor:
        names = connections[SQLITE].introspection.table_names(cursor)
        ours = [name.removeprefix("trigger_celery_") for name in names if "trigger_celery_" in name]
        for name in ours:
            cursor.execute(rename.format(name, f"hidden_{name}"))
        yield
        for name in ours:
            cursor.execute(rename.format(f"hidden_{name}", name))


def of_tables(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if "manage.py migrate" in each.getMessage()]


@pytest.mark.django_db(databases=[SQLITE])
def test_a_sweeper_says_in_one_line_that_there_are_no_tables(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweeper = Sweeper(Engine(store=DjangoStore(SQLITE)), "test")
    with no_tables(), caplog.at_level(logging.WARNING):
        for _ in range(3):
            sweeper.turn()
    [record] = caplog.records
    assert of_tables(caplog) == [record]
    assert record.exc_info is None
    caplog.clear()
    sweeper.turn()
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.django_db(databases=[SQLITE])
def test_a_single_pass_by_hand_ends_with_the_command_that_makes_them() -> None:
    engine = Engine(store=DjangoStore(SQLITE))
    with using_engine(engine), no_tables(), pytest.raises(CommandError, match="migrate"):
        call_command("trigger_sweep")
