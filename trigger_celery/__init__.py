"""Durable execution for Celery and Django: ordinary functions whose steps are checkpointed."""

from __future__ import annotations

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.context import CurrentRun, ScheduledRun, current_run, heartbeat
from trigger_celery.body.parallel import gather, wait_any
from trigger_celery.body.steps import step
from trigger_celery.body.values import now, random, uuid4
from trigger_celery.body.waits import Event, sleep, sleep_until, wait_for_event
from trigger_celery.celery.decorator import durable_task
from trigger_celery.celery.task import DurableTask
from trigger_celery.client.copies import fork_run, rerun
from trigger_celery.client.events import send_event
from trigger_celery.client.handles import RunHandle
from trigger_celery.client.queues import (
    QueueInfo,
    get_queue,
    limit_queue,
    list_queues,
    pause_queue,
    queue_holders,
    release_slot,
    reset_queue,
    resume_queue,
)
from trigger_celery.client.runs import (
    RunInfo,
    RunPage,
    RunSummary,
    cancel_run,
    get_run,
    list_runs,
    pause_run,
    reschedule_run,
    resume_run,
    retry_run,
)
from trigger_celery.client.schedules import (
    ScheduleInfo,
    backfill,
    create_schedule,
    delete_schedule,
    list_schedules,
    pause_schedule,
    resume_schedule,
    run_schedule,
)
from trigger_celery.client.starting import Call, ConfiguredTask, reset_idempotency_key, trigger
from trigger_celery.client.tokens import (
    Token,
    cancel_token,
    complete_token,
    create_token,
    wait_for_token,
)
from trigger_celery.client.waits import complete_wait, extend_wait, open_waits, skip_wait
from trigger_celery.declare.hooks import Caught, RunResult, WaitInfo
from trigger_celery.declare.limits import RateLimit
from trigger_celery.declare.options import Debounce, TriggerOptions
from trigger_celery.declare.queue import Queue
from trigger_celery.declare.schedule import cron, every
from trigger_celery.errors import (
    ChildRunFailed,
    IdempotencyConflict,
    NonRetryableError,
    RetryAfter,
    TokenClosed,
    TokenNotFound,
    TriggerError,
    WaitTimeout,
)
from trigger_celery.values import register

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Caught",
    "ChildRunFailed",
    "ConfiguredTask",
    "CurrentRun",
    "Debounce",
    "DurableTask",
    "Event",
    "IdempotencyConflict",
    "NonRetryableError",
    "Queue",
    "QueueInfo",
    "RateLimit",
    "RetryAfter",
    "RetryPolicy",
    "RunHandle",
    "RunInfo",
    "RunPage",
    "RunResult",
    "RunSummary",
    "ScheduleInfo",
    "ScheduledRun",
    "Token",
    "TokenClosed",
    "TokenNotFound",
    "TriggerError",
    "TriggerOptions",
    "WaitInfo",
    "WaitTimeout",
    "backfill",
    "cancel_run",
    "cancel_token",
    "complete_token",
    "complete_wait",
    "create_schedule",
    "create_token",
    "cron",
    "current_run",
    "delete_schedule",
    "durable_task",
    "every",
    "extend_wait",
    "fork_run",
    "gather",
    "get_queue",
    "get_run",
    "heartbeat",
    "limit_queue",
    "list_queues",
    "list_runs",
    "list_schedules",
    "now",
    "open_waits",
    "pause_queue",
    "pause_run",
    "pause_schedule",
    "queue_holders",
    "random",
    "register",
    "release_slot",
    "rerun",
    "reschedule_run",
    "reset_idempotency_key",
    "reset_queue",
    "resume_queue",
    "resume_run",
    "resume_schedule",
    "retry_run",
    "run_schedule",
    "send_event",
    "skip_wait",
    "sleep",
    "sleep_until",
    "step",
    "trigger",
    "uuid4",
    "wait_any",
    "wait_for_event",
    "wait_for_token",
]
