"""Ids and tokens: time-ordered where an index profits, random where a rival must not guess."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


new_token: Callable[[], str] = partial(secrets.token_hex, 8)
"""Return the random mark by which a writer recognises its own commit."""
