"""Columns and indexes that must behave alike on every database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement

_LONGEST = 3_072
"""Bytes that MySQL and MariaDB take for one entry of an index."""


class IdentityField(models.CharField):  # type: ignore[type-arg]  # it takes none at run time
    """Short text that is kept as it was written and compared exactly.

    The usual collations of MySQL and MariaDB ignore case and trailing spaces, so that
    the steps ``Pay`` and ``pay`` would be one, and a database in ``latin1`` refuses most names.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        return _exact(super().db_parameters(connection), connection)


class PayloadField(models.TextField):  # type: ignore[type-arg]  # it takes none at run time
    """Text of any length, kept as it was written whatever character set the database prefers."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        return _exact(super().db_parameters(connection), connection)


def _exact(parameters: Mapping[str, Any], connection: BaseDatabaseWrapper) -> dict[str, Any]:
    if connection.vendor != "mysql":
        return dict(parameters)
    mariadb = getattr(connection, "mysql_is_mariadb", False)
    collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
    return {**parameters, "collation": collation}


class PartialIndex(models.Index):
    """An index of the rows that fulfil ``condition``; of all rows where a database cannot do that.

    Django leaves a conditional index out on MySQL and MariaDB, and the sweep would read
    whole tables there. Of an index that would be too long for them a primary key at the end is
    left out: it is at the end of all their indexes, without being counted.

    Its ``condition`` is out of sight of Django, which would warn that MySQL ignores it.
    """

    def __init__(self, *, condition: models.Q, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.of_rows = condition

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "condition": self.of_rows}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        if schema_editor.connection.features.supports_partial_indexes:
            partial = models.Index(fields=self.fields, name=self.name, condition=self.of_rows)
            return partial.create_sql(model, schema_editor, using, **kwargs)
        fields = list(self.fields)
        if sum(_bytes(model._meta.get_field(name)) for name in fields) > _LONGEST:
            fields = [name for name in fields if name != model._meta.pk.name]
        plain = models.Index(fields=fields, name=self.name)
        return plain.create_sql(model, schema_editor, using, **kwargs)


def _bytes(field: Any) -> int:
    """Return how long a column is in an index at most; what is not text has 16 bytes or less."""
    return 4 * field.max_length if field.max_length else 16
