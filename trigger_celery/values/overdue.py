"""How a run ends whose deadline has come: the same words in every store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from trigger_celery.errors import RunExpired, RunTimedOut
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """The end of an overdue run; ``verb`` is what its history calls it."""

    state: RunState
    verb: str
    error: str
    fingerprint: str


def overdue(*, started: bool, max_duration: timedelta | None) -> Overdue:
    """Return how a run ends whose deadline has come, by whether it was ever started."""
    if not started:
        failure = describe(RunExpired("it was not started within its ttl"))
        return Overdue(
            state=RunState.EXPIRED,
            verb="expire",
            error=to_text(failure),
            fingerprint=failure.fingerprint,
        )
    failure = describe(RunTimedOut(f"it was not over within its max_duration of {max_duration}"))
    return Overdue(
        state=RunState.TIMED_OUT,
        verb="time out",
        error=to_text(failure),
        fingerprint=failure.fingerprint,
    )
