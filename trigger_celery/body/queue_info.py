"""A durable queue as plain code sees it, and what plain code may ask of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from trigger_celery.declare.limits import RateLimit
from trigger_celery.vocabulary.records import Holder, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A durable queue, and how full it is.

    ``declared`` are the limits of the code, ``limits`` those that hold; ``overridden`` names
    the limits that people changed. ``held`` counts the runs that hold slots, ``waiting``
    those in line, the first of them since ``waiting_since``. ``stopped`` says why no run of
    the queue is started, "" if runs are.
    """

    name: str
    declared: Limits
    limits: Limits
    overridden: tuple[str, ...] = ()
    held: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str = ""
    pause_reason: str = ""
    stopped: str = ""


class QueueVerbs(Protocol):
    """What plain code may ask of durable queues; see ``authoring/managing_queues.py``."""

    def list_queues(self) -> Sequence[QueueInfo]: ...

    def get_queue(self, name: str) -> QueueInfo: ...

    def pause_queue(self, name: str, *, reason: str, by: str) -> bool: ...

    def resume_queue(self, name: str, *, reason: str, by: str) -> bool: ...

    def limit_queue(self, name: str, given: Mapping[str, int | RateLimit | None]) -> bool: ...

    def reset_queue(self, name: str) -> bool: ...

    def queue_holders(self, name: str, *, limit: int) -> Sequence[Holder]: ...

    def release_slot(self, run_id: UUID, *, reason: str, by: str) -> None: ...
