"""A complete store in memory: the engine runs on it without any database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timedelta

from trigger_celery.testing.clock import ManualClock
from trigger_celery.testing.memory.checkpoints import MemoryCheckpoints
from trigger_celery.testing.memory.children import MemoryChildren
from trigger_celery.testing.memory.events import MemoryEvents
from trigger_celery.testing.memory.keys import MemoryKeys
from trigger_celery.testing.memory.managing import MemoryManaging
from trigger_celery.testing.memory.open_waits import MemoryOpenWaits
from trigger_celery.testing.memory.queues import MemoryQueues
from trigger_celery.testing.memory.rows import DeadLetter
from trigger_celery.testing.memory.runs import MemoryRuns
from trigger_celery.testing.memory.schedules import MemorySchedules
from trigger_celery.testing.memory.subscriptions import MemorySubscriptions
from trigger_celery.testing.memory.sweeps import MemorySweeps
from trigger_celery.testing.memory.tables import Core
from trigger_celery.testing.memory.tokens import MemoryTokens
from trigger_celery.testing.memory.waits import MemoryWaits
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
        self.waits = MemoryWaits(self._core)
        self.subscriptions = MemorySubscriptions(self._core)
        self.events = MemoryEvents(self._core, self.waits, self.subscriptions)
        self.keys = MemoryKeys(self._core, self.runs)
        self.sweeps = MemorySweeps(self._core)
        self.tokens = MemoryTokens(self._core)
        self.open_waits = MemoryOpenWaits(self._core, self.tokens)
        self.schedules = MemorySchedules(self._core, self.runs)
        self.queues = MemoryQueues(self._core)

    def remember_version(self, version: TaskVersion) -> None:
        """Keep the source of a task under its digest; nothing happens if it is there."""
        with self._core.lock:
            self._core.tables.versions.setdefault(version.digest, version)

    def now(self) -> datetime:
        """Return the manual clock's time."""
        return self._core.now()

    def atomic(self) -> AbstractContextManager[None]:
        """Open a transaction that what is recorded, created and sent inside shares.

        Raises ``TransactionOpen`` if one is open.
        """
        return self._core.transactions.step()

    def transaction(self) -> AbstractContextManager[None]:
        """Open a transaction as user code would: runs and events inside appear, or vanish."""
        return self._core.transactions.block()

    def joined(self) -> AbstractContextManager[None]:
        """Let what is created and sent inside commit together, joining the caller's."""
        return self._core.transactions.block()

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after this thread's transaction commits (now if there is none)."""
        self._core.transactions.on_commit(callback)

    def check_boundary(self, what: str) -> None:
        """Raise ``TransactionOpen`` naming ``what`` inside a transaction of this thread."""
        self._core.transactions.check_boundary(what)

    def may_block(self) -> bool:
        """Return True: nothing waits here."""
        return True

    def query_count(self) -> int:
        """Return ``queries``."""
        return self.queries

    def release(self) -> None:
        """Do nothing: a thread holds nothing here."""

    def dead_letters(self) -> Sequence[DeadLetter]:
        """Return all dead letters, oldest first."""
        with self._core.lock:
            return tuple(self._core.tables.letters.values())

    def dump(self) -> dict[str, object]:
        """Return a copy of everything that is stored, as plain data."""
        with self._core.lock:
            return asdict(self._core.tables)
