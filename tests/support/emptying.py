"""Empties a database after a test: one statement asks which tables have rows, few are written."""

from __future__ import annotations

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

KEPT = ("django_content_type", "auth_permission")
"""What migrations fill; tests add nothing to them."""
SMALL = 1 << 20
"""Up to this many bytes PostgreSQL deletes rows faster than it truncates their table."""

_tables: dict[str, list[str]] = {}


def empty(connection: BaseDatabaseWrapper) -> None:
    """Delete all rows but those of ``KEPT``, in one transaction, whatever refers to what."""
    written = _written(connection)
    if not written:
        return
    quoted = connection.ops.quote_name
    large = [quoted(name) for name, size in written.items() if size > SMALL]
    small = [quoted(name) for name, size in written.items() if size <= SMALL]
    with (
        connection.constraint_checks_disabled(),
        transaction.atomic(connection.alias),
        connection.cursor() as cursor,
    ):
        if large:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        for name in small:
            cursor.execute(f"DELETE FROM {name}")


def _written(connection: BaseDatabaseWrapper) -> dict[str, int]:
    """Return the tables that have rows; on PostgreSQL with the size of their files."""
    quoted = connection.ops.quote_name
    size = "pg_relation_size('{}')" if connection.vendor == "postgresql" else "0"
    asked = " UNION ALL ".join(
        f"SELECT '{name}', {size.format(quoted(name))} WHERE EXISTS (SELECT 1 FROM {quoted(name)})"
        for name in _tables_of(connection)
    )
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return dict(cursor.fetchall())


def _tables_of(connection: BaseDatabaseWrapper) -> list[str]:
    name = str(connection.settings_dict["NAME"])
    if name not in _tables:
        found = connection.introspection.django_table_names(only_existing=True)
        _tables[name] = sorted(set(found) - set(KEPT))
    return _tables[name]
