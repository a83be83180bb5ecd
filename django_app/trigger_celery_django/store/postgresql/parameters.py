"""Records as the parameters of the PostgreSQL statements; lists go as parallel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from trigger_celery.vocabulary.records import (
    LOOKED_FOR,
    Checkpoint,
    FailedAttempt,
    Lease,
    NewWait,
)
from trigger_celery_django.store.common.rows import shape_digest, span_columns

_MICROSECOND = timedelta(microseconds=1)


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
        "tokens": [wait.token_id for wait in waits],
        "delays": [wait.delay for wait in waits],
        "untils": [wait.until for wait in waits],
        "sources": [wait.source for wait in waits],
        "looked_for": [kind.value for kind in LOOKED_FOR],
        "digests": list(shapes),
        "shape_names": [wait.name for wait in shapes.values()],
        "shapes": [wait.paths for wait in shapes.values()],
    }


def step_parameters(lease: Lease, checkpoint: Checkpoint) -> tuple[object, ...]:
    """Return what ``RECORD`` takes, in its order: this is the statement that runs most."""
    span = checkpoint.span
    return (
        checkpoint.key,
        checkpoint.kind.value,
        checkpoint.value,
        checkpoint.position,
        checkpoint.attempt,
        span.started_at,
        span.ended_at,
        span.cpu // _MICROSECOND,
        span.peak_memory,
        span.queries,
        span.worker,
        span.source,
        checkpoint.token,
        lease.run_id,
        lease.fence,
        lease.token,
    )


def failure_parameters(failed: FailedAttempt | None) -> dict[str, object]:
    """Return the columns of a failed attempt; nothing for none."""
    if failed is None:
        return {}
    return {
        "key": failed.key,
        "run_attempt": failed.run_attempt,
        "number": failed.number,
        "failure": failed.error,
        "kind": failed.kind.value,
        "position": failed.position,
        "holds": failed.holds.value,
        "raised": failed.raised,
        **span_columns(failed.span),
    }
