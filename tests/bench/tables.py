"""Our tables once more, in a schema of their own, so that what is in others costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connections


@contextmanager
def own_tables(alias: str) -> Iterator[str]:
    """Make empty tables under a new database alias, and drop them after the block."""
    connections.settings[alias] = {
        **connections.settings["default"],
        "OPTIONS": {"options": f"-c search_path={alias}"},
    }
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {alias}")
        try:
            call_command("migrate", database=alias, verbosity=0)
            yield alias
        finally:
            connections[alias].close()
            del connections[alias], connections.settings[alias]
            cursor.execute(f"DROP SCHEMA {alias} CASCADE")
