"""Every error this library raises, in one tree.

::

    TriggerError
    ├── DeclarationError (TypeError)    a task, step or policy was declared wrongly
    │   ├── UnknownOption               an unknown option, with the closest name
    │   ├── DuplicateTask               two functions under one task name
    │   ├── DuplicateQueue              two declarations of one durable queue
    │   ├── SourceUnavailable           an async def body whose source cannot be read
    │   └── UncheckpointableAwait       an await of something that is not a call
    ├── UsageError (ValueError)         a durable call at the wrong place or with a wrong value
    │   ├── NotInRun                    a call that needs a run, outside of any
    │   ├── NestedStep                  a step or a wait inside a step
    │   ├── ForeignThread               a durable call in a thread that the body started
    │   ├── TransactionOpen             a boundary reached inside an open transaction
    │   ├── BlocksEventLoop             a call that waits for the database, in an event loop
    │   ├── DuplicateStepKey            two calls of one run under one explicit key
    │   ├── InvalidFilter               an event filter outside the grammar
    │   ├── InvalidTime                 a naive, negative or impossible time
    │   ├── InvalidName                 a name that is empty, too long or of the wrong type
    │   ├── InvalidOption               an option of a call outside its limits
    │   ├── InvalidPayload              a payload that its schema does not allow
    │   ├── InvalidSchedule             a schedule that never fires, or an unknown rule
    │   └── WaitCycle                   a run would wait for one that may wait for it
    ├── CodecError (ValueError)         a value that cannot be stored, or read back
    │   ├── EncodeError                 names the path of the offender
    │   ├── DecodeError                 stored text this codec did not write
    │   └── PayloadTooLarge             over the configured size
    ├── RunError                        why a run did not succeed
    │   ├── NonRetryableError           raised by a body: no further attempts
    │   │   ├── NonDeterminismError     the body no longer matches its checkpoints
    │   │   ├── SuspensionSwallowed     a bare except: caught a suspension
    │   │   └── RunFailed               the stored failure of a run
    │   │       └── ChildRunFailed      ... of one that this run waited for
    │   ├── RetryAfter                  raised by a body: try again after this long
    │   ├── WaitTimeout (TimeoutError)  a wait ended without what it waited for
    │   ├── StepFailed                  the failure of a step whose class is unknown here
    │   ├── StepTimeout (TimeoutError)  a step took longer than its timeout
    │   ├── RunTimedOut                 it was not over within its max_duration
    │   ├── RunExpired                  it was not started within its ttl
    │   ├── RunCrashed                  its workers died max_crashes times
    │   └── RunCanceled                 it was canceled
    ├── RequestRefused                  an HTTP request that is not accepted
    └── StoreError
        ├── StoreUnavailable            the database is away, or its answer was lost
        ├── NotMigrated                 the database has no tables of ours yet
        ├── RunNotFound (LookupError)
        ├── TokenNotFound (LookupError)
        ├── DeadLetterNotFound (LookupError)
        ├── GroupNotFound (LookupError)
        ├── StepNotFound (LookupError)
        ├── WaitNotFound (LookupError)
        ├── ScheduleNotFound (LookupError)
        ├── BulkOperationNotFound (LookupError)
        ├── QueueNotFound (LookupError)
        ├── UnknownTask (LookupError)   a task name this process does not know
        ├── IdempotencyConflict         a key that was used before, with another input
        ├── EventConflict               an event's id that stands for another event
        ├── TokenClosed                 it was completed before, or its time is over
        └── IllegalTransition           a change that its state does not allow

    Unwinding (BaseException)           leaves a body; except Exception does not catch it
    ├── Suspension                      the run waits; it resumes from its top later
    └── LeaseLost                       another worker owns the run now; nothing may be written

An error carries its data as attributes; its message is the first line of its
docstring and the data, so that a log line is enough to act on.
"""

from __future__ import annotations

from trigger_celery.errors.base import (
    TriggerError,
)
from trigger_celery.errors.mistakes import (
    BlocksEventLoop,
    CodecError,
    DeclarationError,
    DecodeError,
    DuplicateQueue,
    DuplicateStepKey,
    DuplicateTask,
    EncodeError,
    ForeignThread,
    InvalidFilter,
    InvalidName,
    InvalidOption,
    InvalidPayload,
    InvalidSchedule,
    InvalidTime,
    NestedStep,
    NotInRun,
    PayloadTooLarge,
    SourceUnavailable,
    TransactionOpen,
    UncheckpointableAwait,
    UnknownOption,
    UsageError,
    WaitCycle,
)
from trigger_celery.errors.outside import (
    BulkOperationNotFound,
    DeadLetterNotFound,
    EventConflict,
    GroupNotFound,
    IdempotencyConflict,
    IllegalTransition,
    NotMigrated,
    QueueNotFound,
    RequestRefused,
    RunNotFound,
    ScheduleNotFound,
    StepNotFound,
    StoreError,
    StoreUnavailable,
    TokenClosed,
    TokenNotFound,
    UnknownTask,
    WaitNotFound,
)
from trigger_celery.errors.runs import (
    ChildRunFailed,
    LeaseLost,
    NonDeterminismError,
    NonRetryableError,
    RetryAfter,
    RunCanceled,
    RunCrashed,
    RunError,
    RunExpired,
    RunFailed,
    RunTimedOut,
    StepFailed,
    StepTimeout,
    Suspension,
    SuspensionSwallowed,
    Unwinding,
    WaitTimeout,
)

__all__ = [
    "BlocksEventLoop",
    "BulkOperationNotFound",
    "ChildRunFailed",
    "CodecError",
    "DeadLetterNotFound",
    "DeclarationError",
    "DecodeError",
    "DuplicateQueue",
    "DuplicateStepKey",
    "DuplicateTask",
    "EncodeError",
    "EventConflict",
    "ForeignThread",
    "GroupNotFound",
    "IdempotencyConflict",
    "IllegalTransition",
    "InvalidFilter",
    "InvalidName",
    "InvalidOption",
    "InvalidPayload",
    "InvalidSchedule",
    "InvalidTime",
    "LeaseLost",
    "NestedStep",
    "NonDeterminismError",
    "NonRetryableError",
    "NotInRun",
    "NotMigrated",
    "PayloadTooLarge",
    "QueueNotFound",
    "RequestRefused",
    "RetryAfter",
    "RunCanceled",
    "RunCrashed",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunNotFound",
    "RunTimedOut",
    "ScheduleNotFound",
    "SourceUnavailable",
    "StepFailed",
    "StepNotFound",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "Suspension",
    "SuspensionSwallowed",
    "TokenClosed",
    "TokenNotFound",
    "TransactionOpen",
    "TriggerError",
    "UncheckpointableAwait",
    "UnknownOption",
    "UnknownTask",
    "Unwinding",
    "UsageError",
    "WaitCycle",
    "WaitNotFound",
    "WaitTimeout",
]
