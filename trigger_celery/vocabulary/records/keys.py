"""Records of the keys under which runs are found again instead of being started twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from trigger_celery.vocabulary.states import RunState

FREES = frozenset({RunState.FAILED, RunState.TIMED_OUT, RunState.EXPIRED})
"""Ends of a run that free its idempotency key; a success or a cancel keeps it."""


class KeyPurpose(StrEnum):
    """What a key is for; one text may serve both."""

    IDEMPOTENCY = "idempotency"
    DEBOUNCE = "debounce"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that a new run asks for.

    Keys may be long: ``digest`` is compared, ``key`` is kept for people. ``ttl`` is how long
    the key is held at most, None for ever. ``input_digest`` is that of the run's input.
    """

    purpose: KeyPurpose
    task: str
    digest: str
    key: str
    run_id: UUID
    input_digest: str = ""
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """Which run holds a key: the one that asked for it, or one before."""

    run_id: UUID
    input_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PushBack:
    """How a delayed run is put off: to ``delay`` from now.

    At most to ``max_delay`` after it was created, None for no limit. ``input``, ``tags`` and
    ``metadata`` replace the run's if ``replace`` is set.
    """

    run_id: UUID
    delay: timedelta
    max_delay: timedelta | None = None
    replace: bool = False
    input: str = ""
    tags: tuple[str, ...] = ()
    metadata: str = ""
