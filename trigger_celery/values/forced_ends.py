"""How a run ends that no worker ends: the same words in every store."""

from __future__ import annotations

from trigger_celery.errors import RunCrashed, RunExpired, RunTimedOut
from trigger_celery.values.failures import describe, to_text
from trigger_celery.vocabulary.lifecycle import ForcedEnd
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState


def overdue(run: Run) -> ForcedEnd:
    """Return how a run ends whose deadline has come: expired if it was never started."""
    if run.started_at is None:
        never = RunExpired("it was not started within its ttl")
        return _end(RunState.EXPIRED, "expire", never)
    late = RunTimedOut(f"it was not over within its max_duration of {run.spec.max_duration}")
    return _end(RunState.TIMED_OUT, "time out", late)


def crashed(crashes: int) -> ForcedEnd:
    """Return how a run ends that lost so many workers."""
    dead = RunCrashed(f"its worker died {crashes} times while it executed the run")
    return _end(RunState.FAILED, "fail", dead)


def _end(state: RunState, verb: str, error: Exception) -> ForcedEnd:
    failure = describe(error)
    return ForcedEnd(
        state=state, verb=verb, error=to_text(failure), fingerprint=failure.fingerprint
    )
