"""The states of a run and every way from one to the next, as data.

``docs/reference/states.md`` draws this table; a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum

from trigger_celery.errors import IllegalTransition


class RunState(StrEnum):
    """Where a run is. The value is what the database stores."""

    QUEUED = "queued"
    EXECUTING = "executing"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether the run has ended; only retry leads on from there."""
        return self in TERMINAL


class WaitState(StrEnum):
    """What became of a wait; all but ``WAITING`` are final.

    ``COMPLETED`` means that its token was completed, its child runs have ended, or a person
    completed it.
    """

    WAITING = "waiting"
    EVENT = "event"
    COMPLETED = "completed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"


class TokenState(StrEnum):
    """What became of a token; one that waits is over all the same once its time has come."""

    WAITING = "waiting"
    COMPLETED = "completed"
    CANCELED = "canceled"


class DeadLetterState(StrEnum):
    """What became of a dead letter; one whose run fails again is ``OPEN`` again.

    ``RETRIED`` becomes ``RESOLVED`` when the retried run completes.
    """

    OPEN = "open"
    RETRIED = "retried"
    RESOLVED = "resolved"
    DISCARDED = "discarded"


class GroupState(StrEnum):
    """Whether a group of dead letters wants to be looked at.

    It is ``RESOLVED`` once none of its letters is open or being retried.
    """

    OPEN = "open"
    IGNORED = "ignored"
    RESOLVED = "resolved"


TRANSITIONS: dict[RunState, dict[RunState, str]] = {
    RunState.QUEUED: {
        RunState.EXECUTING: "claim",
        RunState.CANCELED: "cancel",
        RunState.EXPIRED: "expire",
        RunState.TIMED_OUT: "time out",
    },
    RunState.EXECUTING: {
        RunState.SUSPENDED: "suspend",
        RunState.QUEUED: "hand back or recover",
        RunState.COMPLETED: "complete",
        RunState.FAILED: "fail",
        RunState.TIMED_OUT: "time out",
        RunState.CANCELED: "cancel",
    },
    RunState.SUSPENDED: {
        RunState.QUEUED: "wake",
        RunState.CANCELED: "cancel",
        RunState.TIMED_OUT: "time out",
    },
    RunState.COMPLETED: {},
    RunState.FAILED: {RunState.QUEUED: "retry"},
    RunState.TIMED_OUT: {RunState.QUEUED: "retry"},
    RunState.CANCELED: {},
    RunState.EXPIRED: {},
}
"""``TRANSITIONS[a][b]`` is the verb that leads from state *a* to state *b*."""

TERMINAL = frozenset(
    {
        RunState.COMPLETED,
        RunState.FAILED,
        RunState.TIMED_OUT,
        RunState.CANCELED,
        RunState.EXPIRED,
    }
)
UNSUCCESSFUL = frozenset({RunState.FAILED, RunState.TIMED_OUT})
"""Ends that leave a dead letter behind."""


def check_transition(source: RunState, target: RunState) -> None:
    """Raise :exc:`IllegalTransition` unless the table allows ``source`` to become ``target``."""
    if target not in TRANSITIONS[source]:
        allowed = ", ".join(TRANSITIONS[source]) or "nothing: it is final"
        raise IllegalTransition(f"a {source} run cannot become {target}; it may become {allowed}")
