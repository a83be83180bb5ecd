"""The admin: what runs did and do. It never saves a row by itself."""

from __future__ import annotations

from trigger_celery_django.admin.dead_letters import DeadLetterAdmin
from trigger_celery_django.admin.runs import RunAdmin
from trigger_celery_django.admin.sections import (
    EventAdmin,
    QueueAdmin,
    ScheduleAdmin,
    WaitAdmin,
)

__all__ = ["DeadLetterAdmin", "EventAdmin", "QueueAdmin", "RunAdmin", "ScheduleAdmin", "WaitAdmin"]
