"""How finished work is counted, the same for everybody: ours, plain Celery and the peers.

Imports nothing but the Redis client: the peers' environment has neither Django nor Celery.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

from redis import Redis

TIMEOUT = 120


class Stalled(Exception):
    """What is measured did not finish in time."""


class Counters:
    """Arrivals and time stamps of named batches, under the keys of this bench."""

    def __init__(self, url: str, prefix: str) -> None:
        # Untyped: the annotations of its commands change from release to release.
        self._redis: Any = Redis.from_url(url, socket_timeout=TIMEOUT + 10)
        self._prefix = prefix

    def arrive(self, batch: str) -> int:
        """Count one arrival and return how many there are; called in the worker.

        The batch's name ends with the counts at which the time is kept: ``name/40/400``.
        """
        number = int(self._redis.incr(self._key(batch, "count")))
        if str(number) in batch.split("/")[1:]:
            self.stamp(batch, time.time())
        return number

    def stamp(self, batch: str, at: float) -> None:
        """Hand a time to the reader that waits for it."""
        self._redis.rpush(self._key(batch, "stamps"), repr(at))

    def wait(self, batch: str) -> float:
        """Return the next time stamp of the batch. Raises :exc:`Stalled`."""
        found = self._redis.blpop([self._key(batch, "stamps")], timeout=TIMEOUT)
        if found is None:
            raise Stalled(f"batch {batch!r} was not done within {TIMEOUT} s")
        return float(found[1])

    def clear(self) -> None:
        """Remove every key of this bench, the queues' too."""
        for key in self._redis.scan_iter(f"{self._prefix}*", count=1000):
            self._redis.delete(key)

    def _key(self, batch: str, what: str) -> str:
        return f"{self._prefix}{batch}:{what}"


@cache
def counters() -> Counters:
    """Return those of this process."""
    return Counters(os.environ["TC_BENCH_REDIS"], f"{os.environ['TC_BENCH_NAME']}:")
