"""The runs, and what their steps returned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import (
    Checkpoint,
    Claim,
    Claimed,
    Created,
    Ending,
    FailedAttempt,
    HistoryEntry,
    Lease,
    ListedRun,
    ListPosition,
    NewRun,
    Nudge,
    Outcomes,
    Run,
    RunFilter,
)


class Runs(Protocol):
    """The runs and the workers that own them."""

    def create(self, runs: Sequence[NewRun]) -> Created:
        """Insert queued runs *in the caller's transaction*; return the ids that were new."""

    def get(self, run_id: UUID) -> Run | None:
        """Return the run, or None."""

    def find(
        self, wanted: RunFilter, *, after: ListPosition | None = None, limit: int
    ) -> Sequence[ListedRun]:
        """Return the runs that were asked for, the newest first; of equal times the greatest id.

        Those that come behind the run ``after`` only, so that runs which are created between two
        calls move nothing.
        """

    def beginning_with(self, digits: str, *, limit: int) -> Sequence[UUID]:
        """Return the ids that begin with these hexadecimal digits, without dashes, in order."""

    def history(self, run_id: UUID) -> Sequence[HistoryEntry]:
        """Return every transition of the run, oldest first."""

    def claim(self, claim: Claim) -> Claimed | None:
        """Own the run with the next fence, or None.

        Only a queued run of this task whose ``available_at`` has come can be claimed
        (it becomes executing), or a terminal run whose callbacks are unpublished and due.
        """

    def renew(self, leases: Collection[Lease]) -> Mapping[Lease, bool]:
        """Extend all these leases by their own lengths.

        Return those that still hold, each with whether its run is paused.
        """

    def end(self, lease: Lease, ending: Ending) -> None:
        """End the run: state, output or error, dead letter, history; open waits are canceled."""

    def published(self, lease: Lease) -> None:
        """Note that result and callbacks of an ended run are out; silent if the fence moved on."""

    def hand_back(self, lease: Lease, token: str) -> Nudge:
        """Queue the run again at once, without a penalty: the worker is shutting down."""

    def recover(self, run_id: UUID, worker: str) -> Nudge | None:
        """Take the run from a worker that is known to have died, as an expired lease would be.

        One that has ended, but was not published yet, is anybody's to publish.
        """

    def cancel(
        self, run_id: UUID, error: str, details: Mapping[str, str] | None = None
    ) -> Nudge | None:
        """Cancel the run unless it has ended; its waits too. The nudge publishes the end.

        ``error`` is stored as a failure's is, and says why; ``details`` go into the history.
        """

    def retry(self, run_id: UUID, details: Mapping[str, str] | None = None) -> Nudge:
        """Queue a failed or timed-out run again with its checkpoints; its dead letter is retried.

        Failures that do not hold always are forgotten, and so tried again; the history says
        which (``forgets``). Raises ``RunNotFound`` or ``IllegalTransition``.
        """

    def note(self, run_id: UUID, verb: str, details: Mapping[str, str]) -> None:
        """Add an entry to the history of a run that changes nothing; silent without the run."""

    def notes_since_end(self, run_id: UUID, verb: str) -> Sequence[HistoryEntry]:
        """Return what was noted under the verb since the run ended, oldest first.

        Nothing if it has not ended. It costs what has happened since, however long its life was.
        """


class Checkpoints(Protocol):
    """What the steps of a run returned."""

    def record(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Store a step's success, once for all; joins the transaction of :meth:`Store.atomic`."""

    def record_failure(self, lease: Lease, failed: FailedAttempt) -> None:
        """Store a failed attempt of a step, once for all."""

    def keep_failures(self, lease: Lease, failures: Mapping[str, int]) -> None:
        """Let failed attempts hold always, named by step key and number of this life of the run.

        The body is about to record something after them. Safe to repeat.
        """

    def load(self, run_id: UUID, *, run_attempt: int) -> Outcomes:
        """Return what a segment of this attempt of the run replays, and the counts of failures.

        That is all checkpoints and waits, and the failures that still hold: always, in this life
        of the run (since a person last retried it), or in this attempt.
        """
