"""What the engine and a store say to each other: frozen records, no behaviour.

Payloads (``input``, ``output``, ``value``, ``payload``, ``error``) are text exactly as
the codec wrote it: a store keeps them and never looks inside.
"""

from __future__ import annotations

from trigger_celery.records.runs import (
    Claim,
    Claimed,
    Due,
    Ending,
    HistoryEntry,
    Lease,
    NewRun,
    Nudge,
    Run,
    TaskVersion,
)
from trigger_celery.records.steps import (
    Checkpoint,
    FailedAttempt,
    Span,
    StepKind,
)
from trigger_celery.records.waits import (
    Candidate,
    Event,
    NewEvent,
    NewWait,
    Outcome,
    Outcomes,
    Suspend,
)

__all__ = [
    "Candidate",
    "Checkpoint",
    "Claim",
    "Claimed",
    "Due",
    "Ending",
    "Event",
    "FailedAttempt",
    "HistoryEntry",
    "Lease",
    "NewEvent",
    "NewRun",
    "NewWait",
    "Nudge",
    "Outcome",
    "Outcomes",
    "Run",
    "Span",
    "StepKind",
    "Suspend",
    "TaskVersion",
]
