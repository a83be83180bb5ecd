"""Bulk operations into rows and back; a filter as canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from trigger_celery.vocabulary.records import (
    BulkKind,
    BulkOperation,
    BulkState,
    ListPosition,
    NewBulkOperation,
    RunFilter,
)
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models

_AS_THEY_ARE = tuple(
    field.name for field in fields(NewBulkOperation) if field.name not in ("kind", "wanted")
)
_READ: Mapping[str, Callable[[Any], object]] = {
    "ids": lambda texts: tuple(map(UUID, texts)),
    "states": lambda texts: tuple(map(RunState, texts)),
    "parent_id": UUID,
    "root_id": UUID,
    "since": datetime.fromisoformat,
    "until": datetime.fromisoformat,
}
"""How fields of a filter are read whose values JSON does not have."""


def wanted_text(wanted: RunFilter) -> str:
    """Return a filter as canonical JSON, without what is not asked."""
    given = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    asked = {name: _plain(value) for name, value in given.items() if value}
    return json.dumps(asked, sort_keys=True, separators=(",", ":"))


def wanted_of(text: str) -> RunFilter:
    """Return the filter of a row."""
    return RunFilter(**{name: _value(name, value) for name, value in json.loads(text).items()})


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _value(name: str, value: object) -> Any:
    if name in _READ:
        return _READ[name](value)
    return tuple(value) if isinstance(value, list) else value


def row_of(new: NewBulkOperation) -> models.BulkOperation:
    """Return the unsaved row of a new operation, but for when it was created."""
    return models.BulkOperation(
        **{name: getattr(new, name) for name in _AS_THEY_ARE},
        kind=new.kind,
        wanted=wanted_text(new.wanted),
        state=BulkState.RUNNING,
    )


def operation_of(row: models.BulkOperation) -> BulkOperation:
    """Return the record of a row."""
    cursor = None
    if row.cursor_at is not None and row.cursor_id is not None:
        cursor = ListPosition(row.cursor_at, row.cursor_id)
    return BulkOperation(
        **{name: getattr(row, name) for name in _AS_THEY_ARE},
        kind=BulkKind(row.kind),
        wanted=wanted_of(row.wanted),
        state=BulkState(row.state),
        cursor=cursor,
        done=row.done,
        skipped=json.loads(row.skipped),
        failed=json.loads(row.failed),
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def progress_columns(after: BulkOperation) -> dict[str, object]:
    """Return the columns that a batch changes."""
    return {
        "state": after.state,
        "cursor_at": None if after.cursor is None else after.cursor.created_at,
        "cursor_id": None if after.cursor is None else after.cursor.id,
        "done": after.done,
        "skipped": json.dumps(after.skipped),
        "failed": json.dumps(after.failed),
        "ended_at": after.ended_at,
    }
