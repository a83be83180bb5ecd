"""A complete store in memory: the engine runs on it without any database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timedelta

from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.memory.bulk.operations import MemoryBulkOperations
from trigger_celery.testing.memory.events import MemoryEvents, MemorySubscriptions
from trigger_celery.testing.memory.keys import MemoryKeys
from trigger_celery.testing.memory.managing import MemoryDeadLetters, MemoryManaging
from trigger_celery.testing.memory.queues import MemoryQueues
from trigger_celery.testing.memory.runs import MemoryCheckpoints, MemoryChildren, MemoryRuns
from trigger_celery.testing.memory.schedules import MemorySchedules
from trigger_celery.testing.memory.tables import Core
from trigger_celery.testing.memory.tokens import MemoryOpenWaits, MemoryTokens
from trigger_celery.testing.memory.waits import MemorySweeps, MemoryWaits
from trigger_celery.vocabulary.records import TaskVersion


class MemoryStore:
    """Implements :class:`trigger_celery.ports.Store` on a :class:`ManualClock`.

    Any number of threads may use it. ``queries`` is what :meth:`query_count` returns.
    """

    def __init__(
        self,
        clock: ManualClock | None = None,
        *,
        nudge_interval: timedelta = timedelta(seconds=10),
    ) -> None:
        """Start empty; ``nudge_interval`` is how long a queued run waits for a second nudge."""
        self.clock = clock or ManualClock()
        self.queries = 0
        self._core = Core(self.clock, nudge_interval)
        self.runs = MemoryRuns(self._core)
        self.managing = MemoryManaging(self._core)
        self.checkpoints = MemoryCheckpoints(self._core)
        self.children = MemoryChildren(self._core, self.runs)
        self.dead_letters = MemoryDeadLetters(self._core)
        self.waits = MemoryWaits(self._core)
        self.subscriptions = MemorySubscriptions(self._core)
        self.events = MemoryEvents(self._core, self.waits, self.subscriptions)
        self.keys = MemoryKeys(self._core, self.runs)
        self.sweeps = MemorySweeps(self._core)
        self.tokens = MemoryTokens(self._core)
        self.open_waits = MemoryOpenWaits(self._core, self.tokens)
        self.schedules = MemorySchedules(self._core, self.runs)
        self.queues = MemoryQueues(self._core)
        self.bulk_operations = MemoryBulkOperations(self._core, self.runs)

    def remember_version(self, version: TaskVersion) -> None:
        with self._core.lock:
            self._core.tables.versions.setdefault(version.digest, version)

    def now(self) -> datetime:
        return self._core.now()

    def atomic(self) -> AbstractContextManager[None]:
        return self._core.transactions.step()

    def transaction(self) -> AbstractContextManager[None]:
        """Open a transaction as user code would: runs and events inside appear, or vanish."""
        return self._core.transactions.block()

    def joined(self) -> AbstractContextManager[None]:
        return self._core.transactions.block()

    def on_commit(self, callback: Callable[[], object]) -> None:
        self._core.transactions.on_commit(callback)

    def when_others_commit(self, callback: Callable[[], object]) -> None:
        callback()

    def check_boundary(self, what: str) -> None:
        self._core.transactions.check_boundary(what)

    def seen_by_threads(self) -> bool:
        return True

    def may_block(self) -> bool:
        return True

    def query_count(self) -> int:
        return self.queries

    def release(self) -> None:
        """Do nothing: a thread holds nothing here."""

    def let_go(self) -> None:
        """Do nothing: a thread holds nothing here."""

    def leave_pool(self) -> None:
        """Do nothing: there are no connections here."""

    def dump(self) -> dict[str, object]:
        """Return a copy of everything that is stored, as plain data."""
        with self._core.lock:
            return asdict(self._core.tables)
