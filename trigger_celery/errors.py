"""Every error this library raises, in one tree.

::

    TriggerError
    ├── DeclarationError (TypeError)    a task, step or policy was declared wrongly
    │   ├── UnknownOption               an option nobody knows, with the closest name
    │   ├── DuplicateTask               two functions under one task name
    │   ├── SourceUnavailable           an ``async def`` body whose source cannot be read
    │   └── UncheckpointableAwait       an ``await`` of something that is not a call
    ├── UsageError (ValueError)         a durable call at the wrong place or with a wrong value
    │   ├── NotInRun                    a call that needs a run, outside of any
    │   ├── NestedStep                  a step or a wait inside a step
    │   ├── TransactionOpen             a boundary reached inside an open transaction
    │   ├── DuplicateStepKey            two calls of one run under one explicit key
    │   ├── InvalidFilter               an event filter outside the grammar
    │   ├── InvalidTime                 a naive, negative or impossible time
    │   └── InvalidName                 a name that is empty, too long or of the wrong type
    ├── CodecError (ValueError)         a value that cannot be stored, or read back
    │   ├── EncodeError                 names the path of the offender
    │   ├── DecodeError                 stored text this codec did not write
    │   └── PayloadTooLarge             over the configured size
    ├── RunError                        why a run did not succeed
    │   ├── NonRetryableError           raised by a body: no further attempts
    │   │   ├── NonDeterminismError     the body no longer matches its checkpoints
    │   │   ├── SuspensionSwallowed     a bare ``except:`` caught a suspension
    │   │   └── RunFailed               the stored failure of a run, told again
    │   ├── RetryAfter                  raised by a body: try again after this long
    │   ├── WaitTimeout (TimeoutError)  a wait ended without what it waited for
    │   ├── RunCrashed                  its workers died ``max_crashes`` times
    │   └── RunCanceled                 somebody canceled it
    └── StoreError
        ├── StoreUnavailable            the database is away, or its answer was lost
        ├── RunNotFound (LookupError)
        ├── UnknownTask (LookupError)   a task name this process does not know
        └── IllegalTransition           a change that ``states.py`` does not allow

    Unwinding (BaseException)           leaves a body; ``except Exception`` does not catch it
    ├── Suspension                      the run waits; it resumes from its top later
    └── LeaseLost                       another worker owns the run now; nothing may be written

An error carries its data as attributes; its message is the first line of its
docstring and the data, so that a log line is enough to act on.
"""

from __future__ import annotations

from datetime import timedelta


class TriggerError(Exception):
    """Base of every failure that trigger-celery reports."""


class DeclarationError(TriggerError, TypeError):
    """A task, step or policy was declared wrongly."""


class UnknownOption(DeclarationError):
    """An option that nobody knows; the message proposes the closest name."""


class DuplicateTask(DeclarationError):
    """Two different functions were declared under one task name."""


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


class TransactionOpen(UsageError):
    """A boundary of a run was reached inside an open database transaction."""


class DuplicateStepKey(UsageError):
    """Two calls of one run use the same explicit key."""


class InvalidFilter(UsageError):
    """An event filter is outside the grammar."""


class InvalidTime(UsageError):
    """A time or duration that cannot be waited for."""


class InvalidName(UsageError):
    """A name that is empty, too long or not text."""


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


class RunError(TriggerError):
    """A run did not succeed."""


class NonRetryableError(RunError):
    """Raise it in a step or a body to end all attempts at once."""


class NonDeterminismError(NonRetryableError):
    """The body no longer matches the checkpoints it recorded earlier."""


class SuspensionSwallowed(NonRetryableError):
    """The body caught a suspension, with a bare ``except:`` or ``except BaseException``."""


class RunFailed(NonRetryableError):
    """The stored failure of a run, told again: ``kind`` is the type name of the original."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type[RunFailed], tuple[str, str]]:
        return type(self), (self.kind, self.message)


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


class RunCrashed(RunError):
    """The worker died while it executed this run, ``max_crashes`` times."""


class RunCanceled(RunError):
    """The run was canceled."""


class StoreError(TriggerError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The database is away, or the answer to a write was lost: the write may have happened."""


class RunNotFound(StoreError, LookupError):
    """No run has this id."""


class UnknownTask(StoreError, LookupError):
    """No task of this name is declared in this process."""


class IllegalTransition(StoreError):
    """A run cannot go from its state to the one that was asked for."""


class Unwinding(BaseException):
    """Leaves a body without being a failure; ``except Exception`` does not catch it."""


class Suspension(Unwinding):
    """The run waits for something and will resume from its top."""


class LeaseLost(Unwinding):
    """This worker no longer owns the run: nothing it does from now on is recorded."""
