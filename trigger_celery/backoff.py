"""How long to wait before the next attempt: pure functions of a policy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from trigger_celery.errors import DeclarationError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon to try again.

    ``max_attempts`` counts the first try. Delays are seconds: attempt *n* that failed is
    followed by ``min(max_delay, r * min_delay * factor ** (n - 1))``, with *r* drawn from
    [1, 2) when ``jitter`` is on and 1 otherwise (the rule and the defaults of Trigger.dev,
    with a maximum of one minute).

    Raises :exc:`DeclarationError` for values that make no sense.
    """

    max_attempts: int = 3
    factor: float = 2
    min_delay: float = 1
    max_delay: float = 60
    jitter: bool = True

    def __post_init__(self) -> None:
        _expect("max_attempts", self.max_attempts, "a whole number of at least 1", _is_count)
        _expect("factor", self.factor, "a number of at least 1", lambda v: _is_number(v, 1))
        _expect("min_delay", self.min_delay, "seconds of zero or more", lambda v: _is_number(v, 0))
        _expect("max_delay", self.max_delay, "seconds of zero or more", lambda v: _is_number(v, 0))
        if self.max_delay < self.min_delay:
            raise DeclarationError(
                "expected RetryPolicy.max_delay to be at least min_delay "
                f"({self.min_delay}), got: {self.max_delay}"
            )

    def delay(self, attempt: int, *, draw: Callable[[], float] = random.random) -> timedelta:
        """How long to wait after attempt number ``attempt`` (from 1) failed.

        ``draw`` returns a number from 0 to 1, of which the jitter is made.
        """
        spread = 1 + draw() if self.jitter else 1.0
        try:
            seconds = spread * self.min_delay * self.factor ** (attempt - 1)
        except OverflowError:
            seconds = math.inf
        return timedelta(seconds=min(self.max_delay, seconds))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value >= least


def _expect(name: str, value: object, what: str, ok: object) -> None:
    if not (callable(ok) and ok(value)):
        raise DeclarationError(f"expected RetryPolicy.{name} to be {what}, got: {value!r}")


ONE_ATTEMPT = RetryPolicy(max_attempts=1)
"""What holds where nothing is said."""
