"""The tables: what runs, steps, waits and events are made of.

Payloads are text exactly as the codec wrote it: JSON columns reorder keys and reject
values that others take. Foreign keys on the hot path have no constraint in the
database: its check would lock and read the run's row again for each recorded step.
"""

from __future__ import annotations

from trigger_celery_django.models.base import KEY_LENGTH, NAME_LENGTH
from trigger_celery_django.models.bulk import BulkOperation
from trigger_celery_django.models.dead_letters import DeadLetter, DeadLetterGroup
from trigger_celery_django.models.outside import ApiKey, Token
from trigger_celery_django.models.queues import DurableQueue, KeyRate, Slot
from trigger_celery_django.models.runs import (
    Checkpoint,
    FailedAttempt,
    History,
    Run,
    TaskVersion,
)
from trigger_celery_django.models.starting import RunKey, RunTag, Schedule, Subscription
from trigger_celery_django.models.upkeep import SweepTurn
from trigger_celery_django.models.waits import Event, Wait, WaitShape

__all__ = [
    "KEY_LENGTH",
    "NAME_LENGTH",
    "ApiKey",
    "BulkOperation",
    "Checkpoint",
    "DeadLetter",
    "DeadLetterGroup",
    "DurableQueue",
    "Event",
    "FailedAttempt",
    "History",
    "KeyRate",
    "Run",
    "RunKey",
    "RunTag",
    "Schedule",
    "Slot",
    "Subscription",
    "SweepTurn",
    "TaskVersion",
    "Token",
    "Wait",
    "WaitShape",
]
