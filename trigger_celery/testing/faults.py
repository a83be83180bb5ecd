"""A store that fails where a test says so: crashes, lost answers, refusals and rivals.

Run a flow once without a plan, read ``calls``, then run it again for each of them with a
fault there: whatever the point, the flow has to end as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TypeAlias, TypeVar, cast

from trigger_celery.engine.process.interrupts import ProcessEnd
from trigger_celery.errors import StoreUnavailable
from trigger_celery.ports import (
    BulkOperations,
    Checkpoints,
    Children,
    DeadLetters,
    Events,
    Keys,
    Managing,
    OpenWaits,
    Queues,
    Runs,
    Schedules,
    Store,
    Subscriptions,
    Sweeps,
    Tokens,
    Waits,
)
from trigger_celery.vocabulary.records import TaskVersion

T = TypeVar("T")


class SimulatedCrash(ProcessEnd):
    """The worker died here; no code of it may go on."""


class Fault(StrEnum):
    """What happens at a call of the store."""

    BEFORE = "before"
    """The worker dies; nothing was executed."""
    AFTER = "after"
    """The call is executed, then the worker dies."""
    LOST_ACK = "lost_ack"
    """The call is executed, but its answer is ``StoreUnavailable``."""
    REFUSED = "refused"
    """The call is not executed, its answer is ``StoreUnavailable``."""


Plan: TypeAlias = Mapping[int, "Fault | Callable[[], object]"]
"""By the number of the call: a fault, or what happens before it (a rival takes over)."""


class FaultStore:
    """Wraps a store, numbers its calls from 0 in ``calls`` and fails them by a :data:`Plan`.

    Leaving ``atomic()`` is a call too, named ``commit``. After a crash every call raises
    :exc:`SimulatedCrash`, as a dead worker writes nothing in its ``finally:``, until
    :meth:`restart`. What sends nothing to the database is not a call.
    """

    def __init__(self, inner: Store, plan: Plan | None = None) -> None:
        """Wrap ``inner``; without a plan all calls pass and are only numbered."""
        self.calls: list[tuple[int, str]] = []
        self.crashed = False
        self._inner = inner
        self._plan = dict(plan or {})

    @property
    def runs(self) -> Runs:
        """The runs and their leases."""
        return cast(Runs, _Noun("runs", self._inner.runs, self._pass))

    @property
    def managing(self) -> Managing:
        """What a person asks of one run."""
        return cast(Managing, _Noun("managing", self._inner.managing, self._pass))

    @property
    def dead_letters(self) -> DeadLetters:
        """What failed for good."""
        return cast(DeadLetters, _Noun("dead_letters", self._inner.dead_letters, self._pass))

    @property
    def checkpoints(self) -> Checkpoints:
        """What the steps of a run returned."""
        return cast(Checkpoints, _Noun("checkpoints", self._inner.checkpoints, self._pass))

    @property
    def children(self) -> Children:
        """Runs that other runs started."""
        return cast(Children, _Noun("children", self._inner.children, self._pass))

    @property
    def waits(self) -> Waits:
        """Suspended runs."""
        return cast(Waits, _Noun("waits", self._inner.waits, self._pass))

    @property
    def events(self) -> Events:
        """Events received."""
        return cast(Events, _Noun("events", self._inner.events, self._pass))

    @property
    def subscriptions(self) -> Subscriptions:
        """Tasks that events start."""
        return cast(Subscriptions, _Noun("subscriptions", self._inner.subscriptions, self._pass))

    @property
    def keys(self) -> Keys:
        """Keys that stand for runs."""
        return cast(Keys, _Noun("keys", self._inner.keys, self._pass))

    @property
    def sweeps(self) -> Sweeps:
        """What time alone moves."""
        return cast(Sweeps, _Noun("sweeps", self._inner.sweeps, self._pass))

    @property
    def schedules(self) -> Schedules:
        """When tasks are to be started."""
        return cast(Schedules, _Noun("schedules", self._inner.schedules, self._pass))

    @property
    def bulk_operations(self) -> BulkOperations:
        """One act of a person on many runs."""
        return cast(
            BulkOperations, _Noun("bulk_operations", self._inner.bulk_operations, self._pass)
        )

    @property
    def queues(self) -> Queues:
        """What durable queues allow, and which runs they let in."""
        return cast(Queues, _Noun("queues", self._inner.queues, self._pass))

    @property
    def tokens(self) -> Tokens:
        """Tokens that outside parties complete."""
        return cast(Tokens, _Noun("tokens", self._inner.tokens, self._pass))

    @property
    def open_waits(self) -> OpenWaits:
        """Open waits, one at a time and by hand."""
        return cast(OpenWaits, _Noun("open_waits", self._inner.open_waits, self._pass))

    def restart(self) -> None:
        """Be the store of the next worker after a crash."""
        self.crashed = False

    def remember_version(self, version: TaskVersion) -> None:
        """Keep the source of a task."""
        self._pass("remember_version", partial(self._inner.remember_version, version))

    def now(self) -> datetime:
        """Return the database's time."""
        return self._pass("now", self._inner.now)

    @contextmanager
    def _atomic(self) -> Iterator[None]:
        block = self._inner.atomic()
        block.__enter__()
        try:
            yield
            fault = self._begin("commit")
            if fault in (Fault.BEFORE, Fault.REFUSED):
                self._fail(fault, "commit")
        except BaseException as error:
            # The block rolls back and lets the error pass; a dead worker's is rolled back too.
            block.__exit__(type(error), error, error.__traceback__)
            raise
        block.__exit__(None, None, None)
        if fault is not None:
            self._fail(fault, "commit")

    def atomic(self) -> AbstractContextManager[None]:
        """Open a transaction that user writes and a recorded step share."""
        return self._atomic()

    def joined(self) -> AbstractContextManager[None]:
        """Let what is created and sent inside commit together."""
        return self._inner.joined()

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the caller's transaction commits."""
        self._inner.on_commit(callback)

    def when_others_commit(self, callback: Callable[[], object]) -> None:
        """Call back once the caller's transactions on other databases have committed."""
        self._inner.when_others_commit(callback)

    def check_boundary(self, what: str) -> None:
        """Raise ``TransactionOpen`` if user code holds a transaction open."""
        self._inner.check_boundary(what)

    def seen_by_threads(self) -> bool:
        """Ask the inner store."""
        return self._inner.seen_by_threads()

    def may_block(self) -> bool:
        """Return whether this thread may wait for the database."""
        return self._inner.may_block()

    def query_count(self) -> int:
        """Return how many statements user code sent in this thread so far."""
        return self._inner.query_count()

    def release(self) -> None:
        """Close what this thread holds of the database."""
        self._inner.release()

    def let_go(self) -> None:
        """Hold no connection while this thread waits for others."""
        self._inner.let_go()

    def leave_pool(self) -> None:
        """Let this thread connect by itself, beside a pool."""
        self._inner.leave_pool()

    def _pass(self, verb: str, call: Callable[[], T]) -> T:
        fault = self._begin(verb)
        if fault in (Fault.BEFORE, Fault.REFUSED):
            self._fail(fault, verb)
        answer = call()
        if fault is not None:
            self._fail(fault, verb)
        return answer

    def _begin(self, verb: str) -> Fault | None:
        """Number the call, let a rival in, and return the fault it gets."""
        if self.crashed:
            raise SimulatedCrash(f"{verb}: the worker is dead")
        number = len(self.calls)
        self.calls.append((number, verb))
        planned = self._plan.get(number)
        if planned is None or isinstance(planned, Fault):
            return planned
        planned()
        return None

    def _fail(self, fault: Fault, verb: str) -> None:
        what = f"{verb}, call {len(self.calls) - 1}: {fault}"
        if fault in (Fault.BEFORE, Fault.AFTER):
            self.crashed = True
            raise SimulatedCrash(what)
        raise StoreUnavailable(what)


class _Noun:
    """The verbs of one noun, each passed through the plan."""

    def __init__(
        self,
        name: str,
        inner: object,
        through: Callable[[str, Callable[[], object]], object],
    ) -> None:
        self._name = name
        self._inner = inner
        self._through = through

    def __getattr__(self, verb: str) -> Callable[..., object]:
        method = getattr(self._inner, verb)

        def call(*args: object, **kwargs: object) -> object:
            return self._through(f"{self._name}.{verb}", partial(method, *args, **kwargs))

        return call
