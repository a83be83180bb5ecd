"""What is prepared on a PostgreSQL server: the frequent statements of ours, and no others."""

from __future__ import annotations

import pytest
from django.db import connections

from support.databases import alias_of
from trigger_celery.testing.contract.tools import checkpoint, started
from trigger_celery_django.models import Run
from trigger_celery_django.store import DjangoStore

PREPARED = "SELECT statement FROM pg_prepared_statements"


@pytest.mark.requires("postgres")
@pytest.mark.django_db(databases=[alias_of("postgres")], transaction=True)
def test_with_djangos_own_settings_only_our_statements_are_prepared() -> None:
    store = DjangoStore(alias_of("postgres"))
    connection = connections[store.alias]
    connection.close()  # what is prepared is the connection's
    assert "prepare_threshold" not in connection.settings_dict["OPTIONS"]
    for name in ("first", "second"):
        store.checkpoints.record(started(store), checkpoint(store, name))
        for _ in range(10):
            list(Run.objects.using(store.alias).filter(task="unprepared"))
    with connection.cursor() as cursor:
        cursor.execute(PREPARED)
        statements = [statement for (statement,) in cursor.fetchall()]
    assert len(statements) == 3  # create, claim, record
    assert not any("unprepared" in statement or "ORDER BY" in statement for statement in statements)
