"""Records of what ran: steps, their checkpoints and failed attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class StepKind(StrEnum):
    """What a recorded call was; a replay that finds another kind under its key fails."""

    STEP = "step"
    VALUE = "value"
    SEND = "send_event"
    TRIGGER = "trigger"
    SLEEP = "sleep"
    EVENT = "wait_for_event"
    TOKEN = "wait_for_token"
    CHILDREN = "wait_for_runs"
    RETRY = "retry"


LOOKED_FOR = frozenset({StepKind.EVENT, StepKind.TOKEN, StepKind.CHILDREN})
"""Kinds of waits that may be over when the run suspends: its worker or the sweep looks, once."""


class Holds(StrEnum):
    """How long a failed attempt stands for its step: what a replay raises instead of trying again.

    ``NOT`` is followed by another try of the step. ``ATTEMPT`` holds until the next attempt of
    the run, ``LIFE`` until a person retries the run (the step's own policy is used up), and
    ``ALWAYS`` whatever happens: the body recorded something after it.
    """

    NOT = "not"
    ATTEMPT = "attempt"
    LIFE = "life"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When and where something ran and what it used, for the trace page.

    ``cpu`` is thread CPU time, ``peak_memory`` the process's peak in bytes at the end,
    ``queries`` the statements that the body sent, ``source`` is ``file.py:line`` of the call.
    """

    started_at: datetime
    ended_at: datetime
    cpu: timedelta
    peak_memory: int
    queries: int
    worker: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The success of one step. ``position`` is its place in the order of the body's calls."""

    key: str
    kind: StepKind
    value: str
    position: int
    attempt: int
    span: Span
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """A try that raised: of a step, or of the run itself when ``key`` is empty.

    ``number`` counts the tries of a step since the run began, or a person retried it. What
    ``holds`` has a ``position``, and ``raised`` is codec text of what the body got, from which
    replays make it again ("" for what cannot be made again).
    """

    key: str
    run_attempt: int
    number: int
    error: str
    span: Span
    kind: StepKind = StepKind.STEP
    position: int = 0
    holds: Holds = Holds.NOT
    raised: str = ""
