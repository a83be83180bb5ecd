"""Records of what a person may choose in a run: its recorded calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trigger_celery.vocabulary.records.steps import StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A step or wait of a run, without its value.

    ``is_over`` says that it has an outcome that a replay would use. ``position`` is None for
    a step that only ever failed. ``began_at`` is the start of its first attempt, ``ended_at``
    when its outcome came; either is None where the store does not know.
    """

    key: str
    kind: StepKind
    position: int | None
    is_over: bool
    began_at: datetime | None = None
    ended_at: datetime | None = None
