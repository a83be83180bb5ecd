"""Follows a bulk operation to its end: progress with rate and time left, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from trigger_celery.client.bulk.operations import get_bulk
from trigger_celery.vocabulary.records import BulkOperation, BulkState
from trigger_celery_django.management.command import Painted
from trigger_celery_django.management.output import as_json, plain, rows_as

COLUMNS = (
    "id",
    "kind",
    "state",
    "seen",
    "planned",
    "done",
    "skipped",
    "failed",
    "by",
    "created_at",
)
_SHORTEST, _LONGEST = 0.1, 1.0
"""Seconds between two looks."""


def row(operation: BulkOperation) -> dict[str, object]:
    """Return what is shown of an operation."""
    asked = operation.wanted
    wanted = {name: getattr(asked, name) for name in asked.__slots__ if getattr(asked, name)}
    return {
        "id": operation.id,
        "kind": str(operation.kind),
        "state": str(operation.state),
        "seen": operation.seen,
        "planned": operation.planned,
        "done": operation.done,
        "skipped": sum(operation.skipped.values()),
        "failed": sum(operation.failed.values()),
        "by": operation.by,
        "reason": operation.reason,
        "created_at": operation.created_at,
        "ended_at": operation.ended_at,
        "run": operation.run_id,
        "filter": {name: _shown(value) for name, value in wanted.items()},
        "skipped_by_reason": dict(operation.skipped),
        "failed_by_reason": dict(operation.failed),
    }


def _shown(value: object) -> object:
    return [str(each) for each in value] if isinstance(value, tuple) else plain(value)


def show(command: BaseCommand, operation: BulkOperation, how: str) -> None:
    """Print an operation in one of the formats."""
    shown = row(operation)
    if how == "json":
        command.stdout.write(as_json({"operation": {k: plain(v) for k, v in shown.items()}}))
        return
    for line in rows_as(how, "operations", [shown], COLUMNS):
        command.stdout.write(line)


def follow(command: BaseCommand, operation_id: UUID, how: str) -> None:
    """Show progress on a terminal until the operation is over or paused, and then what it did.

    Raises ``CommandError``: 3 if runs failed, 1 if it was aborted, 130 if a person leaves; the
    operation goes on then.
    """
    began, pause = time.monotonic(), _SHORTEST
    operation = first = get_bulk(operation_id)
    try:
        while operation.state is BulkState.RUNNING:
            _progress(command, operation, operation.seen - first.seen, time.monotonic() - began)
            time.sleep(pause)
            pause = min(_LONGEST, pause * 1.5)
            operation = get_bulk(operation_id)
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted: bulk operation {operation_id} goes on without you; "
            f"manage.py trigger_bulk abort {operation_id} ends it",
            returncode=130,
        ) from None
    if command.stderr.isatty():
        command.stderr.write("")
    show(command, operation, how)
    _judge(operation)


def _judge(operation: BulkOperation) -> None:
    if operation.failed:
        raise CommandError(_counted("failed", operation.failed), returncode=3)
    if operation.state is not BulkState.COMPLETED:
        raise CommandError(
            f"bulk operation {operation.id} is {operation.state}: it dealt with {operation.seen} "
            f"of {operation.planned} runs"
        )


def _counted(what: str, counts: Mapping[str, int]) -> str:
    return "\n".join(f"{what} {count}: {why}" for why, count in counts.items())


def _progress(command: BaseCommand, operation: BulkOperation, dealt: int, took: float) -> None:
    stream: Any = command.stderr
    if stream.isatty():
        stream.write(Painted(f"\r{progress_line(operation, dealt, took)}"), ending="")
        stream.flush()


def progress_line(operation: BulkOperation, dealt: int, took: float) -> str:
    """Return how far an operation is that dealt with so many runs in so many seconds."""
    line = f"{operation.seen}/{operation.planned}"
    rate = dealt / took if took else 0.0
    if not rate:
        return f"{line:<60}"
    left = timedelta(seconds=round(max(0, operation.planned - operation.seen) / rate))
    return f"{f'{line}, {rate:.0f} runs/s, {left} left':<60}"
