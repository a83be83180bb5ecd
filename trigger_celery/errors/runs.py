"""Why a run did not succeed, and what leaves its body without being a failure."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from trigger_celery.errors.base import TriggerError
from trigger_celery.errors.mistakes import InvalidTime


class RunError(TriggerError):
    """A run did not succeed."""


class NonRetryableError(RunError):
    """Raise it in a step or a body to end all attempts at once."""


class NonDeterminismError(NonRetryableError):
    """The body no longer matches the checkpoints it recorded earlier."""


class SuspensionSwallowed(NonRetryableError):
    """The body caught a suspension, with a bare ``except:`` or ``except BaseException``."""


class RunFailed(NonRetryableError):
    """The stored failure of a run, raised again: ``kind`` is the type name of the original."""

    def __init__(self, kind: str, message: str) -> None:
        # As they are given: Celery stores what an exception holds and makes it again from that.
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class ChildRunFailed(RunFailed):
    """A run that this one waited for did not succeed; ``run_id`` names it."""

    def __init__(self, run_id: UUID, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.args = (run_id, kind, message)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id}: {super().__str__()}"


class RetryAfter(RunError):
    """Raise it in a step or a body to try again after ``delay``, within ``max_attempts``."""

    def __init__(self, delay: timedelta, message: str = "") -> None:
        if not isinstance(delay, timedelta) or delay < timedelta(0):
            raise InvalidTime(
                f"expected RetryAfter's delay to be a timedelta of zero or more, got: {delay!r}"
            )
        super().__init__(message or f"try again after {delay}")
        self.delay = delay
        self.message = message

    def __reduce__(self) -> tuple[type[RetryAfter], tuple[timedelta, str]]:
        return type(self), (self.delay, self.message)


class WaitTimeout(RunError, TimeoutError):
    """A wait ended without what it waited for."""


class StepFailed(RunError):
    """A step failed with an exception that cannot be made again from its record.

    Its class has no name in its module, or was not imported by this process; ``kind`` is its
    name and ``message`` its text.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class StepTimeout(RunError, TimeoutError):
    """A step took longer than its ``timeout``."""


class RunTimedOut(RunError):
    """The run was not over within its ``max_duration``."""


class RunExpired(RunError):
    """The run was not started within its ``ttl``."""


class RunCrashed(RunError):
    """The worker died while it executed this run, ``max_crashes`` times."""


class RunCanceled(RunError):
    """The run was canceled."""


class Unwinding(BaseException):
    """Leaves a body without being a failure; ``except Exception`` does not catch it."""


class Suspension(Unwinding):
    """The run waits for something and will resume from its top."""


class LeaseLost(Unwinding):
    """This worker no longer owns the run: nothing it does from now on is recorded."""
