"""What the engine needs from the world: one verb a line, split by noun.

Laws every :class:`Store` keeps, checked by ``trigger_celery.testing.StoreContract``:

* Each verb is one short transaction of its own, except where it says *in the caller's
  transaction*. It never joins a transaction of user code otherwise.
* A verb that takes a :class:`~trigger_celery.records.Lease` writes only while the run is
  executing under exactly this fence, tested in the same statement or transaction as the
  write; else it raises :exc:`~trigger_celery.errors.LeaseLost` and writes nothing.
* A verb that takes a ``token`` may be repeated with the same token after
  :exc:`~trigger_celery.errors.StoreUnavailable`: if the first call did commit, the repeat
  finds the token and answers as the first would have.
* All times are the database's. Locks are taken in the order run, wait, event.
* A verb that moves a run appends to its history in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.records import (
    Candidate,
    Checkpoint,
    Claim,
    Claimed,
    Due,
    Ending,
    Event,
    FailedAttempt,
    HistoryEntry,
    Lease,
    NewEvent,
    NewRun,
    Nudge,
    Outcomes,
    Run,
    Suspend,
    TaskVersion,
)
from trigger_celery.states import RunState


class Runs(Protocol):
    """The runs and who owns them."""

    def create(self, runs: Sequence[NewRun]) -> Collection[UUID]:
        """Insert queued runs *in the caller's transaction*; return the ids that were new."""

    def get(self, run_id: UUID) -> Run | None:
        """Return the run, or None."""

    def history(self, run_id: UUID) -> Sequence[HistoryEntry]:
        """Return every transition of the run, oldest first."""

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None.

        Only a queued run of this task whose ``available_at`` has come can be claimed
        (it becomes executing), or a terminal run whose callbacks are unpublished and due.
        """

    def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Extend all these leases by their own lengths; return those that still hold."""

    def end(self, lease: Lease, ending: Ending) -> None:
        """End the run: state, output or error, dead letter, history; open waits are canceled."""

    def published(self, lease: Lease) -> None:
        """Note that result and callbacks of an ended run are out; silent if the fence moved on."""

    def hand_back(self, lease: Lease, token: str) -> Nudge:
        """Queue the run again at once, without a penalty: the worker is shutting down."""

    def recover(self, run_id: UUID, worker: str) -> Nudge | None:
        """Take the run from a worker that is known to have died, as an expired lease would be."""

    def cancel(self, run_id: UUID, error: str) -> Nudge | None:
        """Cancel the run unless it has ended; its waits too. The nudge publishes the end.

        ``error`` is stored as a failure's is, and says why.
        """

    def retry(self, run_id: UUID) -> Nudge:
        """Queue a failed or timed-out run again with its checkpoints; its dead letter is retried.

        Raises ``RunNotFound`` or ``IllegalTransition``.
        """


class Checkpoints(Protocol):
    """What the steps of a run returned."""

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all; joins the transaction of :meth:`Store.atomic`."""

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt that is followed by another in the same segment."""

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return all checkpoints and waits of the run and this attempt's counts of failures."""


class Waits(Protocol):
    """Suspended runs and the events that wake them."""

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        """Add the waits and suspend the run; return its new state.

        A wait that is recorded already is kept with its deadline. If one of ``keys`` has
        ended meanwhile (its wait is no longer open) the run is queued instead of suspended.
        A wait that is due at once suspends all the same: the sweep ends it.
        The run is due when the first of its open waits is; but with an event wait that
        nobody looked for yet it is due after ``look_within``, so that the sweep makes up
        for a worker that dies between this commit and its look at the stored events.
        """

    def looked(self, run_id: UUID, *, fence: int) -> None:
        """Note that stored events were compared with all open waits of the run.

        The run is due again when the first of its open waits is. Nothing happens if it is
        not suspended under this fence any more.
        """

    def unseen_events(self, run_id: UUID, name: str, *, after: int, limit: int) -> Sequence[Event]:
        """Return stored events of this name, by sequence, that this run may still take.

        These are the ones after sequence number ``after`` that were received, or committed,
        since the run was created and did not yet end one of its waits.
        """

    def open(self, run_id: UUID) -> Sequence[Candidate]:
        """Return the open event waits of a run, by id."""

    def shapes(self, name: str) -> Sequence[str]:
        """Return the distinct ``paths`` texts of all waits ever made on this event name."""

    def candidates(
        self, name: str, hashes: Sequence[int], *, after: int, limit: int
    ) -> Sequence[Candidate]:
        """Return open waits with one of these hashes whose id is over ``after``, by id."""

    def resolve(self, sequence: int, wait_ids: Sequence[int]) -> Sequence[Nudge]:
        """Let the event end those of the waits that are open; queue their suspended runs.

        A run takes one event once, and of several of its waits the first by id gets it.
        """


class Events(Protocol):
    """Events received."""

    def add(self, event: NewEvent) -> Event | None:
        """Store it *in the caller's transaction*; None if its id is stored already."""

    def matched(self, sequence: int) -> None:
        """Note that all waits open so far were compared with this event."""

    def unmatched(self, *, older_than: timedelta, limit: int) -> Sequence[Event]:
        """Return events that are not noted as matched though received so long ago."""


class Sweeps(Protocol):
    """What time alone moves."""

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        """Move on at most ``limit`` runs whose ``due_at`` has come; return whom to nudge.

        A queued or unpublished run is only nudged, and again after at least
        ``nudge_interval`` (growing with its age); a suspended one has its due waits timed
        out and is queued; an executing one lost its worker: it is queued with one more
        crash, or fails as crashed with a dead letter. A suspended run with event waits
        that were not looked for is returned as ``unlooked``, to be due again after
        ``nudge_interval``; such waits are not timed out yet.
        """


class Store(Protocol):
    """All that is kept, and the transactions around it."""

    @property
    def runs(self) -> Runs: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def waits(self) -> Waits: ...
    @property
    def events(self) -> Events: ...
    @property
    def sweeps(self) -> Sweeps: ...

    def remember_version(self, version: TaskVersion) -> None:
        """Keep the source of a task under its digest; nothing happens if it is there."""

    def now(self) -> datetime:
        """Return the database's time."""

    def atomic(self) -> AbstractContextManager[None]:
        """Open a transaction that user writes and :meth:`Checkpoints.record` share.

        Writes to any other database inside it raise ``TransactionOpen``.
        """

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call back after the caller's transaction commits (now if there is none).

        An exception of the callback is logged, never raised.
        """

    def check_boundary(self, what: str) -> None:
        """Raise ``TransactionOpen`` naming ``what`` if user code holds a transaction open."""

    def query_count(self) -> int:
        """Return how many statements user code sent in this thread so far."""

    def release(self) -> None:
        """Close what this thread holds of the database (a helper thread ends or idles)."""


class Dispatcher(Protocol):
    """How workers hear that a run may be claimed."""

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish a hint for each; a failure is logged and otherwise ignored."""


class Codec(Protocol):
    """How values become text and come back, with their exact types."""

    def encode(self, value: object, *, what: str = "value") -> str:
        """Return JSON text. Raises ``EncodeError`` or ``PayloadTooLarge``."""

    def decode(self, text: str) -> object:
        """Return the value. Raises ``DecodeError``."""


class Clock(Protocol):
    """The process's own clock; it measures and pauses, it never decides."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
