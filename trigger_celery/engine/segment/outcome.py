"""What came of one attempt to execute a run, for the caller of ``execute``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from trigger_celery.errors import RunCanceled, RunExpired, RunFailed, RunTimedOut
from trigger_celery.values.failures import from_text
from trigger_celery.vocabulary.records import Claimed, Lease, Run
from trigger_celery.vocabulary.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run has ended. ``owed`` means result and callbacks are still to be published.

    ``value`` is the result of a completed run and ``output`` the same as it is stored;
    ``error`` is the failure of any other, and ``kind`` the class that its record names.
    """

    run: Run
    lease: Lease
    state: RunState
    value: object = None
    output: str | None = None
    error: Exception | None = None
    kind: str = ""
    owed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The run goes on elsewhere or later; ``reason`` says why, ``state`` where it is.

    ``error`` is what an attempt failed with that is followed by another, ``again`` when.
    """

    reason: str
    run: Run | None = None
    state: RunState | None = None
    error: Exception | None = None
    again: timedelta | datetime | None = None


Executed: TypeAlias = Finished | Left

NOT_CLAIMED = Left(reason="not claimed")


def stored_outcome(claimed: Claimed, value: object) -> Finished:
    """Return the stored end of a run whose callbacks are still owed."""
    run = claimed.run
    return Finished(
        run=run,
        lease=claimed.lease,
        state=run.state,
        value=value,
        output=run.output,
        error=None if run.state is RunState.COMPLETED else stored_error(run),
    )


def stored_error(run: Run) -> Exception:
    """Return the stored failure of a run as an exception of ours."""
    if run.error is None:
        return RunFailed(run.state.value, "")
    failure = from_text(run.error)
    if run.state is RunState.CANCELED:
        return RunCanceled(failure.message)
    if run.state is RunState.EXPIRED:
        return RunExpired(failure.message)
    if run.state is RunState.TIMED_OUT:
        return RunTimedOut(failure.message)
    return RunFailed(failure.kind, failure.message)
