"""Transactions of the in-memory store: writes are kept aside until the block ends well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock, local
from uuid import UUID

from trigger_celery.errors import TransactionOpen
from trigger_celery.vocabulary.records import Checkpoint, Run, Schedule, StoredEvent, StoredToken

logger = logging.getLogger("trigger_celery.testing")


@dataclass(slots=True)
class Pending:
    """What one open transaction has written, and what is to be called when it commits.

    ``checks`` run before all ``writes``: they raise if a write cannot happen any more.
    ``of_step`` says that it is the transaction of a step, which its checkpoint joins.
    """

    of_step: bool = False
    runs: dict[UUID, Run] = field(default_factory=dict)
    events: dict[tuple[str, str], StoredEvent] = field(default_factory=dict)
    checkpoints: dict[tuple[UUID, str], Checkpoint] = field(default_factory=dict)
    schedules: dict[str, Schedule | None] = field(default_factory=dict)
    tokens: dict[UUID, StoredToken] = field(default_factory=dict)
    checks: list[Callable[[], None]] = field(default_factory=list)
    writes: list[Callable[[], None]] = field(default_factory=list)
    callbacks: list[Callable[[], object]] = field(default_factory=list)
    ends: list[Callable[[bool], None]] = field(default_factory=list)

    def absorb(self, inner: Pending) -> None:
        """Take over what a nested block, a savepoint, has written."""
        self.runs |= inner.runs
        self.events |= inner.events
        self.checkpoints |= inner.checkpoints
        self.schedules |= inner.schedules
        self.tokens |= inner.tokens
        self.checks += inner.checks
        self.writes += inner.writes
        self.callbacks += inner.callbacks
        self.ends += inner.ends

    def end(self, *, committed: bool) -> None:
        """Call those that locked something with how it ended, the last one first."""
        while self.ends:
            self.ends.pop()(committed)


class _Stack(local):
    def __init__(self) -> None:
        self.open: list[Pending] = []


class Transactions:
    """The open transactions of each thread."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._stack = _Stack()

    @property
    def open(self) -> list[Pending]:
        """The open blocks of this thread, outermost first."""
        return self._stack.open

    @contextmanager
    def own(self, *, joins_step: bool = False) -> Iterator[None]:
        """Be alone with the tables, in a transaction of one's own.

        Raises :exc:`TransactionOpen` inside a block, unless it is a step's and ``joins_step``.
        """
        if self.open and not (joins_step and self.open[0].of_step):
            raise TransactionOpen(
                "a verb of the store was called inside a transaction: end that transaction "
                "first, or use on_commit()"
            )
        with self._lock:
            yield

    @contextmanager
    def step(self) -> Iterator[None]:
        """Open the transaction that a step's body and its checkpoint share."""
        self.check_boundary("an atomic step")
        with self.block(of_step=True):
            yield

    @contextmanager
    def block(self, *, of_step: bool = False) -> Iterator[None]:
        """Commit at the end, or drop everything if the block raises."""
        pending = Pending(of_step=of_step)
        self.open.append(pending)
        try:
            yield
        except BaseException:
            pending.end(committed=False)
            raise
        finally:
            self.open.pop()
        if self.open:
            self.open[-1].absorb(pending)
        else:
            self._commit(pending)

    def _commit(self, pending: Pending) -> None:
        try:
            with self._lock:
                for check in pending.checks:
                    check()
                for write in pending.writes:
                    write()
        except BaseException:
            pending.end(committed=False)
            raise
        pending.end(committed=True)
        for callback in pending.callbacks:
            _call(callback)

    def write(self, action: Callable[[], None]) -> None:
        """Do ``action`` at the commit of this thread's transaction; now if there is none."""
        if self.open:
            self.open[-1].writes.append(action)
        else:
            action()

    def on_end(self, callback: Callable[[bool], None]) -> None:
        """Call back when this thread's transaction ends, with whether it was committed."""
        self.open[-1].ends.append(callback)

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the commit; now if there is no transaction."""
        if self.open:
            self.open[-1].callbacks.append(callback)
        else:
            _call(callback)

    def check_boundary(self, what: str) -> None:
        """Raise :exc:`TransactionOpen` if this thread is inside a block."""
        if self.open:
            raise TransactionOpen(
                f"{what} was reached inside an open transaction: end the transaction first, "
                "a run commits at each boundary"
            )


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        logger.exception("a callback after a commit failed")
