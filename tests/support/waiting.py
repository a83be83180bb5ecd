"""Waits for what other processes do: looks again and again, never for longer than it must."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.02


def eventually(predicate: Callable[[], T], timeout: float = 15, what: str = "") -> T:
    """Return the first true value of ``predicate``; fail after ``timeout`` seconds."""
    give_up = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout} s: {what or predicate}; last: {value!r}")
        time.sleep(PAUSE)
