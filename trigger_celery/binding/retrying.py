"""What ``self.retry(...)`` of a bound task means for a run: an exception that asks for it."""

from __future__ import annotations

from datetime import datetime, timedelta

from trigger_celery.authoring.durations import duration
from trigger_celery.errors import RetryAfter, RunError


def retry_error(
    task: str, cause: Exception | None, *, eta: datetime | None, countdown: float | None
) -> Exception:
    """Return what to raise; without a time it is ``cause``, and the run's policy has the say."""
    if countdown is None and eta is None:
        return cause or RunError(f"task {task!r} asked for a retry")
    delay = duration(countdown or 0, "countdown")
    if eta is not None:
        delay = max(timedelta(0), eta - datetime.now(eta.tzinfo))
    error = RetryAfter(delay, f"task {task!r} asked for a retry")
    error.__cause__ = cause
    return error
