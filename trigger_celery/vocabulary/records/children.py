"""Records of runs that other runs wait for."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnd:
    """Where a child run is, and how it ended if it has."""

    run_id: UUID
    state: RunState
    output: str | None
    error: str | None
