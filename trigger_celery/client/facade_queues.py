"""The part of the facade that is about durable queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from trigger_celery.body.queue_info import QueueInfo
from trigger_celery.declare.limits import RateLimit
from trigger_celery.engine.core import Engine
from trigger_celery.engine.queues import control as queue_control
from trigger_celery.vocabulary.records import Holder


class QueueFacade:
    """Implements :class:`~trigger_celery.body.queue_info.QueueVerbs`."""

    engine: Engine

    def list_queues(self) -> Sequence[QueueInfo]:
        """Return all queues by name."""
        return queue_control.all_of(self.engine)

    def get_queue(self, name: str) -> QueueInfo:
        """Return a queue."""
        return queue_control.get(self.engine, name)

    def pause_queue(self, name: str, *, reason: str, by: str) -> bool:
        """Start no runs of a queue until it is resumed."""
        return queue_control.pause(self.engine, name, reason=reason, by=by)

    def resume_queue(self, name: str, *, reason: str, by: str) -> bool:
        """Let a paused queue go on."""
        return queue_control.resume(self.engine, name, reason=reason, by=by)

    def limit_queue(self, name: str, given: Mapping[str, int | RateLimit | None]) -> bool:
        """Let these limits stand in for those of the code."""
        return queue_control.limit(self.engine, name, given)

    def reset_queue(self, name: str) -> bool:
        """Let the limits of the code hold again."""
        return queue_control.reset(self.engine, name)

    def queue_holders(self, name: str, *, limit: int) -> Sequence[Holder]:
        """Return who holds slots of a queue."""
        return queue_control.holders(self.engine, name, limit=limit)

    def release_slot(self, run_id: UUID, *, reason: str, by: str) -> None:
        """Take the slot from a run."""
        queue_control.release(self.engine, run_id, reason=reason, by=by)
