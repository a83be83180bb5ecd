"""The PostgreSQL statement that creates runs, and its parameters: one round trip for many.

Columns and parameters are those of the records, so that a field added there is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, get_args, get_type_hints
from uuid import UUID

from trigger_celery.vocabulary.lifecycle import EARLIEST, LATEST
from trigger_celery.vocabulary.records import NewRun, Run
from trigger_celery_django.conf import config
from trigger_celery_django.store.common.rows import SPEC_COLUMNS, tags_text
from trigger_celery_django.store.postgresql.runs import EVENT, NOTE, RUN, SLOT, limited, slot_queue

_TYPES: dict[object, str] = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "bool",
    timedelta: "interval",
    datetime: "timestamptz",
    tuple[str, ...]: "text",
}


def _type_of(hint: object) -> str:
    known = hint if hint in _TYPES else next(t for t in get_args(hint) if t is not NoneType)
    return _TYPES[known]


_GIVEN = {name: _type_of(hint) for name, hint in get_type_hints(NewRun).items()}
"""The fields of a new run, with the types of their columns."""

_FRESH = {
    field.name: repr(str(field.default)) if isinstance(field.default, str) else field.default
    for field in fields(Run)
    if field.default is not MISSING and field.default is not None
} | {"attempts_after_fence": 0, "token": "''", "lease_length": "interval '0'"}
"""What is the same for each new run."""

_COMPUTED = {
    "created_at": "now",
    "available_at": "available",
    "line_at": f"""least(greatest(
            available - priority * interval '1 second', '{EARLIEST}'::timestamptz
        ), '{LATEST}'::timestamptz)""",
    "due_at": f"""CASE
            WHEN available > now THEN available
            WHEN EXISTS (SELECT 1 FROM {limited("given", "given.task")}) THEN NULL
            ELSE now + %(nudge_interval)s::interval END""",
    "deadline_at": "coalesce(expires_at, greatest(available, now) + ttl)",
    "event_cut": f"coalesce(event_cut, (SELECT max(sequence) FROM {EVENT}), 0)",
}
_INSERTED = {**dict.fromkeys(SPEC_COLUMNS), **_FRESH, **_COMPUTED}

CREATE = f"""
WITH given AS (
    SELECT n.*, coalesce(n.available_at, clock.now + n.delay) AS available, clock.now
    FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _GIVEN.items())})
        AS n({", ".join(_GIVEN)}),
    (SELECT clock_timestamp() AS now OFFSET 0) AS clock
), created AS (
    INSERT INTO {RUN} ({", ".join(_INSERTED)})
    SELECT {", ".join(name if of is None else str(of) for name, of in _INSERTED.items())}
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING id, task, queue, concurrency_key, line_at, due_at
), placed AS (
    INSERT INTO {SLOT} (run_id, queue, key, task, line_at)
    SELECT id, {slot_queue("created")}, concurrency_key, task, line_at FROM created
    WHERE due_at IS NULL
), noted AS (
    {NOTE}
    SELECT id, clock_timestamp(), 'trigger', 'queued', 0, '', '{{}}' FROM created
)
SELECT id, CASE WHEN due_at IS NULL THEN {slot_queue("created")} END FROM created
"""
"""Its rows are the ids of runs that were new, and the queues of those that wait for a slot."""


def create_parameters(runs: Sequence[NewRun]) -> dict[str, Any]:
    """Return what ``CREATE`` takes: an array for each column."""
    arrays: dict[str, Any] = {name: [getattr(run, name) for run in runs] for name in _GIVEN}
    arrays["tags"] = [tags_text(tags) if tags else "" for tags in arrays["tags"]]
    return {**arrays, "nudge_interval": config().nudge_interval}
