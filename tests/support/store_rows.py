"""What the tests of the Django store are written with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from trigger_celery_django.store.postgresql import admissions, claims, verbs
from trigger_celery_django.store.postgresql import connection as sending


@contextmanager
def sent(alias: str) -> Iterator[list[str]]:
    """Collect every statement that goes to the database, past Django's cursor or through it.

    ``BEGIN`` and ``COMMIT`` are not among them.
    """
    statements: list[str] = []
    send = sending.execute

    def raw(connection: Any, statement: str, parameters: Any, prepare: bool = True) -> Any:
        if connection.alias == alias:
            statements.append(statement)
        return send(connection, statement, parameters, prepare)

    def wrapped(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            statements.append(sql)
        return execute(sql, params, many, context)

    with pytest.MonkeyPatch.context() as patch, connections[alias].execute_wrapper(wrapped):
        for module in (verbs, admissions, claims):
            patch.setattr(module, "execute", raw)
        yield statements


_WAITING = {
    "postgresql": "SELECT 1 FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))",
    # The tables of InnoDB's locks are out of date for a connection that reads them all the time.
    "mysql": "SELECT 1 FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id() AND info LIKE '%durablequeue%'",
}


def is_waited_for(alias: str) -> bool:
    """Tell whether another connection waits for the lock of a durable queue that this one has."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_WAITING[connections[alias].vendor])
        return cursor.fetchone() is not None


def said(data: str) -> dict[str, object]:
    """Return what a history entry says, without the number of the call that made it."""
    return {name: value for name, value in json.loads(data).items() if name != "call"}
