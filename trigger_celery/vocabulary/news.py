"""News for listeners: plain data about what has happened and is committed.

Never part of correctness. A process that dies between a commit and its news sends none, and
listeners may get news twice of what a store or a worker repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias
from uuid import UUID

from trigger_celery.vocabulary.states import RunState


class Topic(StrEnum):
    """What can be listened to; the value is the name of the signal."""

    RUN_CREATED = "run_created"
    RUN_STARTED = "run_started"
    RUN_SUSPENDED = "run_suspended"
    RUN_RESUMED = "run_resumed"
    RUN_RETRYING = "run_retrying"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    RUN_CANCELED = "run_canceled"
    RUN_EXPIRED = "run_expired"
    RUN_TIMED_OUT = "run_timed_out"
    RUN_DEAD_LETTERED = "run_dead_lettered"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    EVENT_RECEIVED = "event_received"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_RESUMED = "queue_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNews:
    """Something happened to a run, which is in ``state`` since.

    ``attempt`` counts the tries of the run from 1, ``error`` names the class of what it
    failed with, ``reason`` is why it was canceled, ``delay`` how long until it is tried
    again (None if that is a time of day), ``waits`` the keys of what it waits for.
    """

    run_id: UUID
    task: str
    state: RunState
    attempt: int = 1
    error: str = ""
    reason: str = ""
    delay: timedelta | None = None
    waits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNews:
    """A step of a run succeeded or failed; ``attempt`` counts the tries of the step from 1.

    ``error`` names the class of what it failed with.
    """

    run_id: UUID
    task: str
    key: str
    attempt: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNews:
    """An event was stored. ``source`` is where it came from, "" for this application."""

    event_id: str
    name: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNews:
    """A durable queue was paused or resumed: the person that asked for it, and why."""

    name: str
    by: str = ""
    reason: str = ""


News: TypeAlias = RunNews | StepNews | EventNews | QueueNews


class Listeners(Protocol):
    """The listeners of this process, by topic."""

    def wants(self, topic: Topic) -> bool:
        """Whether there is a listener: asked each time before the news is put together."""

    def send(self, topic: Topic, news: News) -> None:
        """Call each listener; what a listener raises must not come back."""


class NoListeners:
    """No listener at all."""

    def wants(self, topic: Topic) -> bool:
        """Return False."""
        return False

    def send(self, topic: Topic, news: News) -> None:
        """Do nothing."""
