"""Durable execution for Celery and Django: ordinary functions whose steps are checkpointed."""

from __future__ import annotations

from trigger_celery.authoring.context import CurrentRun, current_run, heartbeat
from trigger_celery.authoring.events import send_event
from trigger_celery.authoring.steps import step
from trigger_celery.authoring.values import now, random, uuid4
from trigger_celery.authoring.waits import Event, sleep, sleep_until, wait_for_event
from trigger_celery.backoff import RetryPolicy
from trigger_celery.binding.decorator import durable_task
from trigger_celery.binding.task import DurableTask
from trigger_celery.errors import (
    NonRetryableError,
    RetryAfter,
    TriggerError,
    WaitTimeout,
)
from trigger_celery.values import register

__version__ = "0.1.0"

__all__ = [
    "CurrentRun",
    "DurableTask",
    "Event",
    "NonRetryableError",
    "RetryAfter",
    "RetryPolicy",
    "TriggerError",
    "WaitTimeout",
    "current_run",
    "durable_task",
    "heartbeat",
    "now",
    "random",
    "register",
    "send_event",
    "sleep",
    "sleep_until",
    "step",
    "uuid4",
    "wait_for_event",
]
