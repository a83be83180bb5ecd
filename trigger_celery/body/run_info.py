"""A run as plain code sees it, and what plain code may ask of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from trigger_celery.values.failures import Failure
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run, decoded. ``output`` is what it returned, ``error`` why it did not succeed.

    ``deadline_at`` is when it expires (before its first start) or times out (after it);
    ``in_line_of`` is the durable queue that it stands in line for until it is let in, or "";
    ``origin`` tells what started it, and ``copied_from_id`` is the run that it is a rerun or
    fork of.
    """

    id: UUID
    task: str
    state: RunState
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    error: Failure | None
    attempt: int
    crashes: int
    worker: str
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    paused_at: datetime | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    priority: int
    queue: str
    concurrency_key: str
    in_line_of: str
    parent_id: UUID | None
    copied_from_id: UUID | None
    origin: Mapping[str, Any]


class RunVerbs(Protocol):
    """What plain code may ask of a run; see ``authoring/managing.py``."""

    def get_run(self, run_id: UUID) -> RunInfo: ...

    def cancel_run(self, run_id: UUID, *, reason: str, by: str) -> bool: ...

    def retry_run(self, run_id: UUID, *, reason: str, by: str) -> None: ...

    def rerun(
        self,
        run_id: UUID,
        *,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        reason: str,
        by: str,
    ) -> UUID: ...

    def fork_run(
        self,
        run_id: UUID,
        *,
        step: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        reason: str,
        by: str,
    ) -> UUID: ...

    def reschedule_run(
        self, run_id: UUID, *, delay: timedelta | float | datetime, reason: str, by: str
    ) -> None: ...

    def pause_run(self, run_id: UUID, *, reason: str, by: str) -> bool: ...

    def resume_run(self, run_id: UUID, *, reason: str, by: str) -> bool: ...
