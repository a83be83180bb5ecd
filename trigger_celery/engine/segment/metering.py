"""Measures what an attempt used, for the trace page."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from typing import TypeAlias

from trigger_celery.ports import Clock, Store
from trigger_celery.vocabulary.records import Span

if sys.platform != "win32":
    import resource

Anchor: TypeAlias = tuple[datetime, float]
"""A database time and the reading of this process's clock at that instant: they label what
follows on one time line, so that two workers whose wall clocks differ draw one trace."""

_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory() -> int:
    """Return the most memory this process ever had resident, in bytes (0 where unknown)."""
    if sys.platform == "win32":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


class Meter:
    """Runs from its creation to :meth:`span`; what it counts is of the ``with`` block alone.

    The block is entered in the thread that runs the body, which of an async task's plain
    step is not the one that asks for the span.
    """

    __slots__ = ("_anchor", "_clock", "_cpu", "_queries", "_started", "_store")

    def __init__(self, store: Store, clock: Clock, anchor: Anchor) -> None:
        self._anchor = anchor
        self._clock = clock
        self._store = store
        self._started = clock.monotonic()
        self._cpu = 0.0
        self._queries = 0

    def __enter__(self) -> None:
        self._queries = self._store.query_count()
        self._cpu = time.thread_time()

    def __exit__(self, *exc: object) -> None:
        self._cpu = time.thread_time() - self._cpu
        self._queries = self._store.query_count() - self._queries

    def span(self, *, worker: str, source: str) -> Span:
        """Return what was used since the meter started."""
        at, monotonic = self._anchor
        return Span(
            started_at=at + timedelta(seconds=self._started - monotonic),
            ended_at=at + timedelta(seconds=self._clock.monotonic() - monotonic),
            cpu=timedelta(seconds=self._cpu),
            peak_memory=peak_memory(),
            queries=self._queries,
            worker=worker,
            source=source,
        )
