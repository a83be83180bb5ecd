"""Records as the parameters of the PostgreSQL statements; lists go as parallel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trigger_celery.records import FailedAttempt, NewRun, NewWait, StepKind
from trigger_celery_django.conf import config
from trigger_celery_django.store.rows import shape_digest, span_columns


def run_parameters(runs: Sequence[NewRun]) -> dict[str, Any]:
    """Return the columns of new runs."""
    return {
        "ids": [run.id for run in runs],
        "tasks": [run.task for run in runs],
        "inputs": [run.input for run in runs],
        "canvases": [run.canvas for run in runs],
        "delays": [run.delay for run in runs],
        "starts": [run.available_at for run in runs],
        "max_crashes": [run.max_crashes for run in runs],
        "nudge_interval": config().nudge_interval,
    }


def wait_parameters(waits: Sequence[NewWait]) -> dict[str, object]:
    """Return the columns of new waits, and the shapes of their filters."""
    shapes = {shape_digest(wait.name, wait.paths): wait for wait in waits if wait.name}
    return {
        "keys": [wait.key for wait in waits],
        "kinds": [wait.kind.value for wait in waits],
        "positions": [wait.position for wait in waits],
        "names": [wait.name for wait in waits],
        "filters": [wait.filter for wait in waits],
        "paths": [wait.paths for wait in waits],
        "hashes": [wait.match_hash for wait in waits],
        "delays": [wait.delay for wait in waits],
        "untils": [wait.until for wait in waits],
        "sources": [wait.source for wait in waits],
        "event_kind": StepKind.EVENT.value,
        "digests": list(shapes),
        "shape_names": [wait.name for wait in shapes.values()],
        "shapes": [wait.paths for wait in shapes.values()],
    }


def failure_parameters(failed: FailedAttempt | None) -> dict[str, object]:
    """Return the columns of a failed attempt; nothing for none."""
    if failed is None:
        return {}
    return {
        "key": failed.key,
        "run_attempt": failed.run_attempt,
        "number": failed.number,
        "failure": failed.error,
        **span_columns(failed.span),
    }
