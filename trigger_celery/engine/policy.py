"""Which failures are tried again, and when: pure decisions."""

from __future__ import annotations

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


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt may end differently."""
    return not isinstance(error, FINAL)


def retry_delay(policy: RetryPolicy, attempt: int, error: BaseException) -> timedelta:
    """How long to wait after attempt number ``attempt`` failed with ``error``."""
    if isinstance(error, RetryAfter):
        return error.delay
    return policy.delay(attempt)
