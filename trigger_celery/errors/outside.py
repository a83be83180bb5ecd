"""What the store, or a request from outside, cannot have."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.errors.base import TriggerError


class RequestRefused(TriggerError):
    """An HTTP request that is not accepted; ``status`` is the code of the answer.

    ``retry_after`` is how long the sender should wait until it asks again, if that helps.
    """

    def __init__(self, status: int, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[RequestRefused], tuple[int, str, timedelta | None]]:
        return type(self), (self.status, str(self), self.retry_after)


class StoreError(TriggerError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The database is away, or the answer to a write was lost: the write may have happened."""


class NotMigrated(StoreError):
    """The tables of this library are not in the database: its migrations have to be applied."""


class RunNotFound(StoreError, LookupError):
    """No run has this id."""


class TokenNotFound(StoreError, LookupError):
    """No token has this id, or the secret is not its own."""


class DeadLetterNotFound(StoreError, LookupError):
    """This run has no dead letter: it did not fail for good."""


class GroupNotFound(StoreError, LookupError):
    """No group of dead letters has this fingerprint, or several begin with it."""


class StepNotFound(StoreError, LookupError):
    """No step or wait of the run has this key."""


class WaitNotFound(StoreError, LookupError):
    """No open wait has this id."""


class BulkOperationNotFound(StoreError, LookupError):
    """No bulk operation has this id."""


class ScheduleNotFound(StoreError, LookupError):
    """No schedule has this key."""


class QueueNotFound(StoreError, LookupError):
    """No durable queue of this name is declared, or stored."""


class UnknownTask(StoreError, LookupError):
    """No task of this name is declared in this process."""


class IdempotencyConflict(StoreError):
    """An idempotency key was used before, with another input."""


class EventConflict(StoreError):
    """An event's id was used before by the same source, with another name or payload."""


class TokenClosed(StoreError):
    """The token was completed before, was canceled, or its time is over."""


class IllegalTransition(StoreError):
    """A run cannot go from its state to the one that was asked for."""
