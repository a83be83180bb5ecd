"""All that is kept, and the transactions around it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from trigger_celery.ports.bulk_operations import BulkOperations
from trigger_celery.ports.children import Children
from trigger_celery.ports.dead_letters import DeadLetters
from trigger_celery.ports.keys import Keys
from trigger_celery.ports.managing import Managing
from trigger_celery.ports.queues import Queues
from trigger_celery.ports.runs import Checkpoints, Runs
from trigger_celery.ports.schedules import Schedules, Subscriptions
from trigger_celery.ports.tokens import OpenWaits, Tokens
from trigger_celery.ports.waits import Events, Sweeps, Waits
from trigger_celery.vocabulary.records import TaskVersion


class Store(Protocol):
    """All that is kept, and the transactions around it."""

    @property
    def runs(self) -> Runs: ...
    @property
    def managing(self) -> Managing: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def children(self) -> Children: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def waits(self) -> Waits: ...
    @property
    def events(self) -> Events: ...
    @property
    def subscriptions(self) -> Subscriptions: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def sweeps(self) -> Sweeps: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def open_waits(self) -> OpenWaits: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def queues(self) -> Queues: ...
    @property
    def bulk_operations(self) -> BulkOperations: ...

    def remember_version(self, version: TaskVersion) -> None:
        """Keep the source of a task under its digest; nothing happens if it is there."""

    def now(self) -> datetime:
        """Return the database's time."""

    def atomic(self) -> AbstractContextManager[None]:
        """Open a transaction that user writes and :meth:`Checkpoints.record` share.

        Writes to any other database inside it raise ``TransactionOpen``.
        """

    def joined(self) -> AbstractContextManager[None]:
        """Let what is created and sent inside commit together.

        In the caller's transaction if there is one, else in one of its own.
        """

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the caller's transaction commits (now if there is none).

        An exception of the callback is logged, never raised.
        """

    def when_others_commit(self, callback: Callable[[], object]) -> None:
        """Call back once the caller's transactions on other databases have committed.

        Now if there is none. What the callback raises, the caller gets from its commit.
        """

    def check_boundary(self, what: str) -> None:
        """Raise ``TransactionOpen`` naming ``what`` if user code holds a transaction open."""

    def may_block(self) -> bool:
        """Return whether this thread may wait for the database: not where an event loop runs."""

    def seen_by_threads(self) -> bool:
        """Return whether other threads of this process see what this one has written.

        They do not inside the transaction that a test case rolls back.
        """

    def query_count(self) -> int:
        """Return how many statements user code sent in this thread so far."""

    def release(self) -> None:
        """Close what this thread holds of the database (a helper thread ends or idles)."""

    def let_go(self) -> None:
        """Hold no connection while this thread waits for others, which need some themselves.

        One in a transaction, as that of a test case, is kept.
        """

    def leave_pool(self) -> None:
        """Let this thread connect by itself, where others take connections from a pool.

        Those may all be held for long, and what renews their leases must not wait for them.
        """
