"""Many rows in one statement, on SQLite too: Django gives it a statement for every 999 values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Model

_FEW = 20
"""Up to so many rows SQLite takes as everybody else."""


def insert(alias: str, rows: Sequence[Model], *, ignore_conflicts: bool = False) -> None:
    """Insert the rows, which are all of one model; keys that the database makes stay unset."""
    connection = connections[alias]
    if connection.vendor == "sqlite" and len(rows) > _FEW:
        _insert_json(connection, rows, ignore="OR IGNORE " if ignore_conflicts else "")
    elif rows:
        manager = type(rows[0])._default_manager.using(alias)
        manager.bulk_create(rows, ignore_conflicts=ignore_conflicts)


def upsert(
    alias: str, rows: Sequence[Model], *, unique: Sequence[str], over: Sequence[str]
) -> None:
    """Insert the rows, which are all of one model and differ in the fields ``unique``.

    Of one that is there already the fields ``over`` are replaced, and it is locked.
    """
    connection, meta = connections[alias], rows[0]._meta
    column_of = {field.attname: str(field.column) for field in meta.concrete_fields}
    if connection.vendor == "sqlite" and len(rows) > _FEW:
        keys = ", ".join(column_of[name] for name in unique)
        columns = [column_of[name] for name in over]
        values = ", ".join(f"{column} = excluded.{column}" for column in columns)
        # Without a WHERE the parser would take ON for that of a join.
        last = f" WHERE true ON CONFLICT ({keys}) DO UPDATE SET {values}"
        _insert_json(connection, rows, last=last)
    else:
        target = connection.features.supports_update_conflicts_with_target
        type(rows[0])._default_manager.using(alias).bulk_create(
            rows,
            update_conflicts=True,
            update_fields=over,
            unique_fields=unique if target else None,
        )


def _insert_json(
    connection: BaseDatabaseWrapper, rows: Sequence[Model], *, ignore: str = "", last: str = ""
) -> None:
    """Give all rows as one parameter, a JSON list of lists."""
    meta = rows[0]._meta
    generated = rows[0].pk is None
    fields = [field for field in meta.concrete_fields if not (generated and field.primary_key)]
    values = [[_value(connection, field, row) for field in fields] for row in rows]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    parts = ", ".join(f"value ->> {number}" for number in range(len(fields)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT {ignore}INTO {quote(meta.db_table)} ({columns}) "
            f"SELECT {parts} FROM json_each(%s){last}",
            [json.dumps(values)],
        )


def _value(connection: BaseDatabaseWrapper, field: Any, row: Model) -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, Expression):  # the database's time, the only one that rows are given
        value = datetime.now(UTC)
    return field.get_db_prep_save(value, connection=connection)
