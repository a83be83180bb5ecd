"""Mistakes in code: of a declaration, of a call, of a value."""

from __future__ import annotations

from trigger_celery.errors.base import TriggerError


class DeclarationError(TriggerError, TypeError):
    """A task, step or policy was declared wrongly."""


class UnknownOption(DeclarationError):
    """An unknown option; the message proposes the closest name."""


class DuplicateTask(DeclarationError):
    """Two different functions were declared under one task name."""


class DuplicateQueue(DeclarationError):
    """Two declarations of one durable queue that say different things."""


class SourceUnavailable(DeclarationError):
    """The source of an ``async def`` task cannot be read, so its awaits cannot be checkpointed."""


class UncheckpointableAwait(DeclarationError):
    """An ``await`` in a durable body awaits something that is not a call."""


class UsageError(TriggerError, ValueError):
    """A durable call was made at the wrong place or with a wrong value."""


class NotInRun(UsageError):
    """This call only has a meaning inside a durable run."""


class NestedStep(UsageError):
    """A step or a wait was called inside a step; only bodies of tasks may do that."""


class ForeignThread(UsageError):
    """A durable call was made in a thread that neither the worker nor ``gather()`` started."""


class TransactionOpen(UsageError):
    """A boundary of a run was reached inside an open database transaction."""


class BlocksEventLoop(UsageError):
    """A call that waits for the database was made in a thread that runs an event loop."""


class DuplicateStepKey(UsageError):
    """Two calls of one run use the same explicit key."""


class InvalidFilter(UsageError):
    """An event filter is outside the grammar."""


class InvalidTime(UsageError):
    """A time or duration that cannot be waited for."""


class InvalidName(UsageError):
    """A name that is empty, too long or not text."""


class InvalidOption(UsageError):
    """An option of a call is outside its limits: a key, tag, priority or the like."""


class InvalidPayload(UsageError):
    """A payload is not what its schema allows; ``path`` points at the offender (``$.amount``)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message

    def __reduce__(self) -> tuple[type[InvalidPayload], tuple[str, str]]:
        return type(self), (self.path, self.message)


class InvalidSchedule(UsageError):
    """A schedule that never fires, or whose rule or time zone is unknown."""


class WaitCycle(UsageError):
    """A run would wait for one that may wait for it: the one that a key gives."""


class CodecError(TriggerError, ValueError):
    """A value cannot be stored, or stored text cannot be read back."""


class EncodeError(CodecError):
    """A value cannot be stored as JSON.

    ``path`` points at the offender (``$.charge.client``), ``kind`` names its type,
    ``hint`` says what to do about it.
    """

    def __init__(self, path: str, kind: str, hint: str) -> None:
        super().__init__(f"{path}: {kind} cannot be stored: {hint}")
        self.path = path
        self.kind = kind
        self.hint = hint

    def __reduce__(self) -> tuple[type[EncodeError], tuple[str, str, str]]:
        return type(self), (self.path, self.kind, self.hint)


class DecodeError(CodecError):
    """Stored text that this codec did not write."""


class PayloadTooLarge(CodecError):
    """An encoded value is over the configured size."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} is {size:,} bytes when encoded, the limit is {limit:,}: store the "
            "data elsewhere and pass a reference, or raise TRIGGER_CELERY['PAYLOAD_LIMIT']"
        )
        self.what = what
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[type[PayloadTooLarge], tuple[str, int, int]]:
        return type(self), (self.what, self.size, self.limit)
