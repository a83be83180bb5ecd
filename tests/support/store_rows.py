"""What the tests of the Django store are written with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from trigger_celery_django.store.hot import postgresql


@contextmanager
def sent(alias: str) -> Iterator[list[str]]:
    """Collect every statement that goes to the database, past Django's cursor or through it.

    ``BEGIN`` and ``COMMIT`` are not among them.
    """
    statements: list[str] = []
    send = postgresql.execute

    def raw(connection: Any, statement: str, parameters: Any) -> Any:
        if connection.alias == alias:
            statements.append(statement)
        return send(connection, statement, parameters)

    def wrapped(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            statements.append(sql)
        return execute(sql, params, many, context)

    with pytest.MonkeyPatch.context() as patch, connections[alias].execute_wrapper(wrapped):
        patch.setattr(postgresql, "execute", raw)
        yield statements
