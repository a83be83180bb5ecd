"""The database's own clock, as an expression, as a value, and read back from raw rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.db.models.sql.compiler import SQLCompiler
from django.utils.dateparse import parse_datetime

# Not clock_timestamp(): compared with a volatile function, PostgreSQL uses no index.
CLOCKS = {"postgresql": "statement_timestamp()", "mysql": "UTC_TIMESTAMP(6)"}


class DatabaseNow(Func):
    """The database's time when the statement began, not the transaction.

    SQLite has milliseconds only; its file is on this host, so that the clock of this
    process is the database's clock.
    """

    arity = 0
    output_field = DateTimeField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        return clock_sql(connection)


def clock_sql(connection: BaseDatabaseWrapper) -> tuple[str, tuple[str | int, ...]]:
    """Return an SQL expression for the database's time, and its parameters."""
    clock = CLOCKS.get(connection.vendor)
    if clock is not None:
        return clock, ()
    return "%s", (str(connection.ops.adapt_datetimefield_value(datetime.now(UTC))),)


def read_now(connection: BaseDatabaseWrapper) -> datetime:
    """Return the database's time."""
    clock = CLOCKS.get(connection.vendor)
    if clock is None:
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {clock}")
        (now,) = cursor.fetchone()
    return aware(now)


def aware(value: datetime | str) -> datetime:
    """Return a time of a raw row as an aware one: MySQL gives naive UTC, SQLite text."""
    if isinstance(value, str):
        parsed = parse_datetime(value)
        assert parsed is not None, value
        value = parsed
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
