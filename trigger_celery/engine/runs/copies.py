"""New runs like old ones."""

from __future__ import annotations

from trigger_celery.engine.core import Engine
from trigger_celery.vocabulary.identity import new_id
from trigger_celery.vocabulary.records import NewRun, Run


def copy_of(engine: Engine, source: Run, *, origin: str, text: str | None = None) -> NewRun:
    """Return a run like another one, with ``text`` as its input if there is any."""
    return NewRun(
        id=new_id(),
        task=source.task,
        input=source.spec.input if text is None else text,
        canvas=engine.canvas_of_copy(source.spec.canvas),
        max_crashes=source.spec.max_crashes,
        max_duration=source.spec.max_duration,
        max_attempts=source.spec.max_attempts,
        priority=source.spec.priority,
        queue=source.spec.queue,
        concurrency_key=source.spec.concurrency_key,
        tags=source.spec.tags,
        metadata=source.spec.metadata,
        origin=origin,
        copied_from_id=source.id,
    )
