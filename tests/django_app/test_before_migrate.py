"""A database without our tables: one clear error, and one line of a sweep."""

from __future__ import annotations

import logging

import pytest
from django.db import connections

from support.databases import alias_of, every_database
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


@pytest.mark.django_db(databases=[SQLITE])
def test_a_sweeper_says_in_one_line_that_there_are_no_tables(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweeper = Sweeper(Engine(store=DjangoStore(SQLITE)), "test")
    rename = "ALTER TABLE trigger_celery_{} RENAME TO trigger_celery_{}"
    with connections[SQLITE].cursor() as cursor:
        names = connections[SQLITE].introspection.table_names(cursor)
        ours = [name.removeprefix("trigger_celery_") for name in names if "trigger_celery_" in name]
        for name in ours:
            cursor.execute(rename.format(name, f"hidden_{name}"))
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                sweeper.turn()
        for name in ours:
            cursor.execute(rename.format(f"hidden_{name}", name))
    [record] = caplog.records
    assert "manage.py migrate" in record.getMessage()
    assert record.exc_info is None
    caplog.clear()
    sweeper.turn()
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
