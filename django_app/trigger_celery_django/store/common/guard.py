"""How every verb reaches the database: in a transaction of its own, with errors sorted.

Its statements are not counted among those of a task's author, which each thread counts.
"""

from __future__ import annotations

import logging
import os
import threading
from asyncio import get_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.transaction import Atomic

from trigger_celery.errors import LeaseLost, NotMigrated, StoreUnavailable, TransactionOpen
from trigger_celery.vocabulary.records import Lease
from trigger_celery_django.store.common.faults import DriverFault, drop_if_lost, fault_of
from trigger_celery_django.store.postgresql.preparing import CURE, stop_preparing


class _Count(threading.local):
    def __init__(self) -> None:
        self.statements = 0
        self.paused = 0


count = _Count()
"""Of this thread."""


statements: Callable[[], int] = partial(getattr, count, "statements")
"""Return how many statements this thread sent while counting was not paused."""


class Paused:
    """Leaves out the statements of the block: they are the engine's own."""

    def __enter__(self) -> None:
        count.paused += 1

    def __exit__(self, *_: object) -> None:
        count.paused -= 1


paused = Paused()
"""Without state, and so shared: a step is recorded faster than a generator is set up."""


def count_statements() -> None:
    """Count on every connection of this process, present and future; once is enough."""
    connection_created.connect(_watch, dispatch_uid="trigger_celery.counting")
    for connection in connections.all(initialized_only=True):
        _watch(connection)


def _watch(connection: BaseDatabaseWrapper, **_: object) -> None:
    if _tally not in connection.execute_wrappers:
        # At the front: ``execute_wrapper()`` takes the last one away when its block ends.
        connection.execute_wrappers.insert(0, _tally)


def _tally(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if not count.paused:
        count.statements += 1
    return execute(sql, params, many, context)


T = TypeVar("T")

logger = logging.getLogger("trigger_celery.store")

_TRIES = 3


class _Step(threading.local):
    block: Atomic | None = None


class Guard:
    """Runs the verbs of a store on one database alias.

    Errors of the connection, of lock waits and the like become ``StoreUnavailable``; they
    are sorted here, where only statements of this library run, so that an equal error
    of a step's body stays what it is. All other errors pass.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._step = _Step()

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """This thread's connection."""
        return connections[self.alias]

    def read(self, work: Callable[[], T]) -> T:
        """Run queries; the caller may be in a transaction."""
        return self._run(work)

    def statement(self, work: Callable[[BaseDatabaseWrapper], T], *, joins: bool = False) -> T:
        """Run one raw statement that commits by itself, or as part of :meth:`step` if it joins."""
        connection = self._own_connection(joins=joins)

        def attempt() -> T:
            connection.ensure_connection()
            # Raw cursors do not ask; a transaction marked for rollback would commit nothing.
            connection.validate_no_broken_transaction()
            with connection.wrap_database_errors:
                return work(connection)

        return self._run(attempt)

    def transaction(self, work: Callable[[], T], *, joins: bool = False) -> T:
        """Run the work in a short transaction, or as part of :meth:`step` if it joins."""
        connection = self._own_connection(joins=joins)
        if joins and self._step.block in connection.atomic_blocks:
            return self._run(work)

        def attempt() -> T:
            with transaction.atomic(using=self.alias, durable=True):
                return work()

        return self._run(attempt)

    def joining(self, work: Callable[[], T]) -> T:
        """Run statements in the caller's transaction, or each by itself if there is none.

        In a transaction only an outage gets a type of ours: a conflict with another transaction
        stays Django's own, for the code that repeats the caller's work by it.
        """
        if not in_transaction(self.connection):
            return self._run(work)
        with paused, self._sorted():
            return work()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Let statements commit together, with the caller's transaction if there is one."""
        with self._sorted(), transaction.atomic(using=self.alias, savepoint=False):
            yield

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            connection = connections[self.alias]
            fault = fault_of(error, connection)
            if fault is DriverFault.UNPREPARED:
                stop_preparing(connection, error)
            if fault is None or (fault is not DriverFault.AWAY and connection.in_atomic_block):
                raise
            if fault is DriverFault.NO_TABLES:
                raise NotMigrated(_NO_TABLES.format(alias=self.alias)) from error
            drop_if_lost(connection)
            raise StoreUnavailable(_refusal(self.alias, error, fault)) from error

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the caller's transaction commits; what that raises is logged."""

        def call() -> None:
            # Not left to robust=True: Django 5.2 fails to name a partial(), 6.1 logs its arguments.
            try:
                callback()
            except Exception:
                logger.exception("a callback after a commit failed; the sweep does its work")

        transaction.on_commit(call, using=self.alias, robust=True)

    def enter_step(self) -> Atomic:
        """Open the transaction that a step's body and its checkpoint share."""
        self._own_connection(joins=False)
        block = transaction.atomic(using=self.alias, durable=True)
        self._run(block.__enter__)
        self._step.block = block
        return block

    def leave_step(self, block: Atomic) -> None:
        """Commit it. The body's own errors do not come this way."""
        self._step.block = None
        self._run(lambda: block.__exit__(None, None, None), tries=1)

    def abandon_step(self, block: Atomic, error: BaseException) -> None:
        """Roll it back. Raises ``StoreUnavailable`` if the body failed by a lost connection.

        Whatever the body made of the database's error: nothing of it was committed.
        """
        self._step.block = None
        connection = connections[self.alias]
        used, closed_by_body = connection.connection, connection.closed_in_transaction
        try:
            with paused:
                block.__exit__(type(error), error, error.__traceback__)
        except Error:  # Django opens the next connection at once, and the database is away
            logger.debug("no connection after an atomic step", exc_info=True)
        lost_connection = connection.connection is not used and not closed_by_body
        if lost_connection and isinstance(error, Exception) and _comes_from_database(error):
            raise StoreUnavailable(
                f"the connection to the database {self.alias!r} was lost in an atomic step, "
                f"which was rolled back: {error}"
            ) from error

    def _own_connection(self, *, joins: bool) -> BaseDatabaseWrapper:
        connection = connections[self.alias]
        if not connection.in_atomic_block and connection.autocommit:
            return connection
        if in_transaction(connection) and not (
            joins and self._step.block in connection.atomic_blocks
        ):
            raise TransactionOpen(
                f"a verb of the store was called inside a transaction on the database "
                f"{self.alias!r}: end that transaction first, or use transaction.on_commit()"
            )
        return connection

    def _run(self, work: Callable[[], T], *, tries: int = _TRIES) -> T:
        for left in reversed(range(tries)):
            try:
                count.paused += 1  # as ``with paused`` does: each step comes here
                try:
                    return work()
                finally:
                    count.paused -= 1
            except Error as error:
                connection = connections[self.alias]
                fault = fault_of(error, connection)
                if fault is None:
                    raise
                if fault is DriverFault.NO_TABLES:
                    raise NotMigrated(_NO_TABLES.format(alias=self.alias)) from error
                if fault is DriverFault.UNPREPARED:
                    stop_preparing(connection, error)
                drop_if_lost(connection)
                # Inside a caller's transaction all of it has to be repeated, not this verb.
                if fault is DriverFault.AWAY or not left or connection.in_atomic_block:
                    raise StoreUnavailable(_refusal(self.alias, error, fault)) from error
        raise AssertionError("unreachable: the last try returns or raises")


_NO_TABLES = (
    "the database {alias!r} has no tables of trigger-celery yet: run "
    "'manage.py migrate trigger_celery --database {alias}'. What is running goes on then"
)


def _refusal(alias: str, error: Error, fault: DriverFault) -> str:
    said = f"the database {alias!r} did not do what was asked: {error}"
    return f"{said}. {CURE.format(alias=alias)}" if fault is DriverFault.UNPREPARED else said


def _comes_from_database(error: BaseException | None) -> bool:
    """Whether an error is one of the database, or was raised because of one."""
    while error is not None:
        if isinstance(error, (Error, StoreUnavailable)):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_boundary(what: str) -> None:
    """Raise ``TransactionOpen`` if user code holds a transaction open on any database."""
    for connection in connections.all(initialized_only=True):
        # Most are idle, and each step asks twice.
        idle = connection.autocommit or connection.connection is None
        if (connection.in_atomic_block or not idle) and in_transaction(connection):
            raise TransactionOpen(
                f"{what} was reached inside an open transaction on the database "
                f"{connection.alias!r}: what is recorded there must be durable. Leave the "
                "atomic() block first (or turn autocommit on again); writes that must commit "
                "together with a step belong inside a step with atomic=True"
            )


def may_block() -> bool:
    """Return whether Django lets this thread wait for the database."""
    try:
        get_running_loop()
    except RuntimeError:
        return True
    return bool(os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"))


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether code other than a Django test case holds a transaction open."""
    if connection.in_atomic_block:
        blocks = connection.atomic_blocks
        return not blocks or not all(getattr(block, "_from_testcase", False) for block in blocks)
    return connection.connection is not None and not connection.autocommit


def lost(lease: Lease) -> LeaseLost:
    """Return the error of a write whose lease no longer holds."""
    return LeaseLost(f"run {lease.run_id} is no longer executing under fence {lease.fence}")
