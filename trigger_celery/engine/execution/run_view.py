"""What a body sees of how its run was started."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trigger_celery.body.context import CurrentRun
from trigger_celery.engine.core import Engine
from trigger_celery.engine.execution.retries import policy_of
from trigger_celery.engine.runs.origins import scheduled_run
from trigger_celery.ports import Codec
from trigger_celery.vocabulary.records import Run


def read_metadata(codec: Codec, text: str) -> Mapping[str, Any]:
    """Return the metadata of a run; changes of it reach nothing that is stored."""
    metadata: Any = codec.decode(text) if text else {}
    return MappingProxyType(metadata)


def max_attempts(engine: Engine, run: Run) -> int:
    """Return how often the body of a run is tried at most: its own number, or its task's."""
    policy = policy_of(engine.tasks.get(run.task), engine.config.default_retry)
    return run.spec.max_attempts or policy.max_attempts


def describe_run(engine: Engine, run: Run, step_key: str | None = None) -> CurrentRun:
    """Return the run as its author may see it."""
    return CurrentRun(
        id=run.id,
        task=run.task,
        attempt=run.attempt,
        crashes=run.crashes,
        fence=run.fence,
        created_at=run.created_at,
        step_key=step_key,
        parent_id=run.spec.parent_id,
        root_id=run.spec.root_id,
        tags=run.spec.tags,
        metadata=read_metadata(engine.codec, run.spec.metadata),
        priority=run.spec.priority,
        max_attempts=max_attempts(engine, run),
        deadline=run.deadline_at,
        queue=run.spec.queue,
        concurrency_key=run.spec.concurrency_key,
        schedule=scheduled_run(engine.codec, run.spec.origin),
    )
