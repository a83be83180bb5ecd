"""What the engine and a store say to each other: frozen records, no behaviour.

Payloads (``input``, ``output``, ``value``, ``payload``, ``error``) are text exactly as
the codec wrote it: a store keeps them and never looks inside.
"""

from __future__ import annotations

from trigger_celery.vocabulary.records.audience import Audience
from trigger_celery.vocabulary.records.children import ChildEnd
from trigger_celery.vocabulary.records.keys import FREES, HeldKey, KeyPurpose, NewKey, PushBack
from trigger_celery.vocabulary.records.managing import Place
from trigger_celery.vocabulary.records.queues import (
    EVERYTHING,
    NO_LIMITS,
    OF_TASK,
    Admitted,
    Created,
    Holder,
    Limits,
    QueueLoad,
    Rate,
    Standing,
    StoredQueue,
    in_line_of,
    line_of,
)
from trigger_celery.vocabulary.records.runs import (
    Claim,
    Claimed,
    Due,
    Ending,
    FromEvent,
    FromPerson,
    FromSchedule,
    HistoryEntry,
    Lease,
    ListedRun,
    NewRun,
    Nudge,
    Origin,
    RecentClaim,
    Run,
    RunFilter,
    RunSpec,
    TaskVersion,
    Unclaimed,
    listed,
)
from trigger_celery.vocabulary.records.schedules import Overlap, Schedule, ScheduleChange
from trigger_celery.vocabulary.records.steps import (
    LOOKED_FOR,
    Checkpoint,
    FailedAttempt,
    Holds,
    Span,
    StepKind,
)
from trigger_celery.vocabulary.records.subscriptions import Subscription
from trigger_celery.vocabulary.records.tokens import NewToken, OpenWait, StoredToken
from trigger_celery.vocabulary.records.waits import (
    Candidate,
    Event,
    NewEvent,
    NewWait,
    Outcome,
    Outcomes,
    Suspend,
)

__all__ = [
    "EVERYTHING",
    "FREES",
    "LOOKED_FOR",
    "NO_LIMITS",
    "OF_TASK",
    "Admitted",
    "Audience",
    "Candidate",
    "Checkpoint",
    "ChildEnd",
    "Claim",
    "Claimed",
    "Created",
    "Due",
    "Ending",
    "Event",
    "FailedAttempt",
    "FromEvent",
    "FromPerson",
    "FromSchedule",
    "HeldKey",
    "HistoryEntry",
    "Holder",
    "Holds",
    "KeyPurpose",
    "Lease",
    "Limits",
    "ListedRun",
    "NewEvent",
    "NewKey",
    "NewRun",
    "NewToken",
    "NewWait",
    "Nudge",
    "OpenWait",
    "Origin",
    "Outcome",
    "Outcomes",
    "Overlap",
    "Place",
    "PushBack",
    "QueueLoad",
    "Rate",
    "RecentClaim",
    "Run",
    "RunFilter",
    "RunSpec",
    "Schedule",
    "ScheduleChange",
    "Span",
    "Standing",
    "StepKind",
    "StoredQueue",
    "StoredToken",
    "Subscription",
    "Suspend",
    "TaskVersion",
    "Unclaimed",
    "in_line_of",
    "line_of",
    "listed",
]
