"""Which failures are tried again, and when: pure decisions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from trigger_celery.backoff import RetryPolicy
from trigger_celery.errors import (
    CodecError,
    DeclarationError,
    NonRetryableError,
    RetryAfter,
    UsageError,
    WaitTimeout,
)

FINAL = (NonRetryableError, CodecError, DeclarationError, UsageError, WaitTimeout)
"""Failures that would be the same the next time: a mistake in the code, or a recorded outcome."""


def leaves(error: Exception) -> Iterator[Exception]:
    """Yield the failures of all branches of a ``TaskGroup``, or the one there is."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def is_retryable(error: Exception) -> bool:
    """Whether another attempt may end differently."""
    return not any(isinstance(each, FINAL) for each in leaves(error))


def retry_delay(policy: RetryPolicy, attempt: int, error: Exception) -> timedelta:
    """How long to wait after attempt number ``attempt`` failed with ``error``."""
    asked = [each.delay for each in leaves(error) if isinstance(each, RetryAfter)]
    return max(asked) if asked else policy.delay(attempt)
