"""A stored run as plain code sees it."""

from __future__ import annotations

from typing import Any

from trigger_celery.body.run_info import RunInfo
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs.trigger import decode_input
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.records import Run, in_line_of

AS_STORED = (
    "id",
    "task",
    "state",
    "attempt",
    "crashes",
    "worker",
    "created_at",
    "available_at",
    "started_at",
    "finished_at",
    "deadline_at",
    "paused_at",
    "tags",
    "priority",
    "queue",
    "concurrency_key",
    "parent_id",
    "copied_from_id",
)
"""What is told of a run as it is stored, in the order in which people read it."""


def info(engine: Engine, run: Run) -> RunInfo:
    """Return the run with its values decoded. Raises ``DecodeError``."""
    args, kwargs = decode_input(engine, run.input)
    return RunInfo(
        **{name: getattr(run, name) for name in AS_STORED},
        in_line_of=in_line_of(run),
        args=tuple(args),
        kwargs=kwargs,
        output=None if run.output is None else engine.codec.decode(run.output),
        error=None if run.error is None else from_text(run.error),
        metadata=_mapping(engine, run.metadata),
        origin=_mapping(engine, run.origin),
    )


def _mapping(engine: Engine, text: str) -> dict[str, Any]:
    value: Any = engine.codec.decode(text) if text else {}
    return dict(value)
