"""Every text is kept whatever the character set of the database, and checks are quiet about it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import connection, connections, models
from django.db.migrations.recorder import MigrationRecorder

from support.databases import alias_of
from trigger_celery_django.checks import check_migrations
from trigger_celery_django.models.fields import PartialIndex

OURS = list(apps.get_app_config("trigger_celery").get_models())
mariadb = [
    pytest.mark.requires("mariadb"),
    pytest.mark.django_db(databases=[alias_of("mariadb")]),
]


def on_mariadb(test: Any) -> Any:
    for mark in mariadb:
        test = mark(test)
    return test


def test_every_text_column_has_a_character_set_of_its_own_on_mysql() -> None:
    class Mysql:
        """What a field asks a connection before it says what its column is."""

        vendor = "mysql"
        mysql_is_mariadb = True
        data_types = connection.data_types
        data_type_check_constraints = connection.data_type_check_constraints
        features = connection.features
        ops = connection.ops

    mysql: Any = Mysql()
    columns = {
        f"{model.__name__}.{field.name}": field.db_parameters(mysql).get("collation")
        for model in OURS
        for field in model._meta.concrete_fields
        if isinstance(field, (models.CharField, models.TextField))
    }
    assert len(columns) > 40
    assert set(columns.values()) == {"utf8mb4_nopad_bin"}


@on_mariadb
def test_the_columns_of_mariadb_take_every_character() -> None:
    with connections[alias_of("mariadb")].cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = database() AND table_name LIKE 'trigger\\_celery\\_%%' "
            "AND character_set_name IS NOT NULL AND character_set_name <> 'utf8mb4' "
            "AND data_type <> 'uuid'"
        )
        assert [row for row in cursor.fetchall() if row[1] != "id"] == []


@on_mariadb
def test_no_check_warns_of_indexes_that_are_made_in_full_there() -> None:
    found = run_checks(
        app_configs=[apps.get_app_config("trigger_celery")], databases=[alias_of("mariadb")]
    )
    assert [message for message in found if message.id == "models.W037"] == []


def test_a_partial_index_is_the_same_after_a_migration() -> None:
    index = PartialIndex(fields=["a", "-b"], name="trigger_x", condition=models.Q(c=1))
    path, args, kwargs = index.deconstruct()
    assert path.endswith("PartialIndex")
    assert kwargs["condition"] == models.Q(c=1)
    assert PartialIndex(*args, **kwargs) == index == index.clone()
    assert index != PartialIndex(fields=["a", "-b"], name="trigger_x", condition=models.Q(c=2))


@pytest.mark.django_db
def test_migrate_is_not_asked_to_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    MigrationRecorder(connection).record_unapplied("trigger_celery", "0001_initial")
    monkeypatch.setattr(sys, "argv", ["manage.py", "check", "--database", "default"])
    assert [message.id for message in check_migrations(databases=["default"])] == [
        "trigger_celery.W003"
    ]
    monkeypatch.setattr(sys, "argv", ["manage.py", "migrate"])
    assert check_migrations(databases=["default"]) == []
