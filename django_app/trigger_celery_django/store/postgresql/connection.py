"""How a compiled statement reaches PostgreSQL: on psycopg's own cursor, prepared."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorDebugWrapper
from psycopg import Cursor

from trigger_celery_django.store.postgresql.preparing import refused

Row = tuple[object, ...]
Parameters = Mapping[str, object] | Sequence[object]

_THRESHOLD = "prepare_threshold"
_ONLY_IF_ASKED = sys.maxsize
"""Django's default, None, refuses to prepare even what asks for it; user code never asks."""


def _may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Whether the settings let us prepare, and the server has not refused it to this process.

    ``DISABLE_SERVER_SIDE_CURSORS`` is Django's word for such a pooler, ``prepare_threshold: None``
    among the options psycopg's.
    """
    settings = connection.settings_dict
    if settings.get("DISABLE_SERVER_SIDE_CURSORS") or connection.alias in refused:
        return False
    options = settings["OPTIONS"]
    return _THRESHOLD not in options or options[_THRESHOLD] is not None


def execute(
    connection: BaseDatabaseWrapper, statement: str, parameters: Parameters, prepare: bool = True
) -> Cursor[Row]:
    """Send one statement; tests count what goes through here.

    The server binds the parameters and prepares the statement, which is most of the cost of
    a recorded step otherwise.
    """
    prepare = prepare and _may_prepare(connection)
    raw = connection.connection
    if prepare and raw.prepare_threshold is None:
        raw.prepare_threshold = _ONLY_IF_ASKED
    cursor: Cursor[Row] = Cursor(raw)
    if not connection.queries_logged:
        return cursor.execute(statement, parameters, prepare=prepare)
    # What assertNumQueries counts and connection.queries shows is kept by Django's own cursor.
    given: Any = parameters
    with CursorDebugWrapper(cursor, connection).debug_sql(statement, given):
        return cursor.execute(statement, parameters, prepare=prepare)
