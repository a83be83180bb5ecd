"""Waits, the events that end them, and what time alone moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import (
    Audience,
    Candidate,
    Due,
    Elected,
    EventFilter,
    Lease,
    ListedEvent,
    NewEvent,
    Nudge,
    RecentClaim,
    StoredEvent,
    Suspend,
    Unclaimed,
)
from trigger_celery.vocabulary.states import RunState, WaitState


class Waits(Protocol):
    """Suspended runs and the events that wake them."""

    def suspend(self, lease: Lease, suspend: Suspend, *, look_within: timedelta) -> RunState:
        """Add the waits and suspend the run; return its new state.

        A wait that is recorded already is kept with its deadline. If one of ``keys`` has
        ended meanwhile (its wait is no longer open) the run is queued instead of suspended.
        A wait that is due at once suspends all the same: the sweep ends it.
        The run is due when the first of its open waits is; but with a wait (``LOOKED_FOR``) that
        no look was taken for yet it is due after ``look_within``, so that the sweep makes up
        for a worker that dies between this commit and its look at the stored events.
        """

    def looked(self, run_id: UUID, *, fence: int) -> None:
        """Note that stored events were compared with all open waits of the run.

        The run is due again when the first of its open waits is. Nothing happens if it is
        not suspended under this fence any more.
        """

    def unseen_events(
        self, run_id: UUID, name: str, *, after: int, limit: int
    ) -> Sequence[StoredEvent]:
        """Return stored events of this name, by sequence, that this run may still take.

        These are the ones after sequence number ``after`` and above the run's ``event_cut``
        that did not yet end one of its waits.
        """

    def open(self, run_id: UUID, *, key: str | None = None) -> Sequence[Candidate]:
        """Return the open waits of a run that may be over by now (``LOOKED_FOR``), by id.

        Only the one with this key, if ``key`` names it: however many others there are.
        """

    def shapes(self, name: str) -> Sequence[str]:
        """Return the distinct ``paths`` texts of all waits ever made on this event name."""

    def awaited(self, name: str, hashes: Sequence[int]) -> Sequence[int]:
        """Return those of the hashes that an open wait on this event name has, in their order.

        One statement, whatever their number: of a long list in a payload few are waited for.
        """

    def candidates(
        self, name: str, hashes: Sequence[int], *, after: int, limit: int
    ) -> Sequence[Candidate]:
        """Return open waits with one of these hashes whose id is over ``after``, by id."""

    def resolve(
        self, sequence: int, wait_ids: Sequence[int], *, matched: bool = False
    ) -> Sequence[Nudge]:
        """Let the event end those of the waits that are open; queue their suspended runs.

        A run takes one event once, and of several of its waits the first by id gets it; one
        whose ``event_cut`` is not below ``sequence`` does not take it at all.
        ``matched`` notes with it what :meth:`Events.matched` does. It may be written without
        waiting for the disk: if it is lost, so is every later write, and the sweep matches again.
        """

    def conclude(
        self, wait_ids: Sequence[int], state: WaitState, *, value: str | None = None
    ) -> Sequence[Nudge]:
        """End those of the waits that are open, as completed with ``value`` or as timed out.

        Their suspended runs are queued and their nudges returned.
        """

    def cancel(self, lease: Lease, keys: Collection[str]) -> None:
        """End those of these waits of the leased run that are open, as canceled.

        The run goes on under its lease; no run is nudged.
        """


class Events(Protocol):
    """Events received."""

    def add(self, event: NewEvent) -> StoredEvent | None:
        """Store it *in the caller's transaction*; None if its id is stored already."""

    def get(self, id: str, *, source: str) -> StoredEvent | None:
        """Return the event of this id and source that :meth:`add` found, or None if it is gone.

        Also one that was committed after the caller's transaction began.
        """

    def audience(self, name: str, hashes: Sequence[int], *, before: int, limit: int) -> Audience:
        """Return what an event of this name may concern, at most ``limit`` of each.

        Candidates are open waits with one of these hashes; shapes are all there are. ``before``
        is the event's sequence: the audience is crowded if earlier ones are not matched yet.
        """

    def ahead(self, name: str, *, before: int, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return events of this name that are not noted as matched, by sequence.

        Only those whose sequence is over ``after`` and under ``before``.
        """

    def find(
        self, wanted: EventFilter, *, before: int | None = None, limit: int
    ) -> Sequence[ListedEvent]:
        """Return the events that were asked for, the latest first, all before this sequence."""

    def matched(self, sequence: int) -> None:
        """Note that all waits open so far were compared with this event."""

    def unmatched(self, *, older_than: timedelta, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return events that are not noted as matched though received so long ago, by sequence.

        Only those after this sequence number.
        """

    def purge(self, *, older_than: timedelta, after: int, limit: int) -> int:
        """Look at so many events after a sequence number and delete what no run needs any more.

        That are events that were matched so long ago and ended no wait. Returns the sequence
        number to go on after; 0 once all events of that age were looked at.
        """


class Sweeps(Protocol):
    """What time alone moves."""

    def due(self, *, limit: int, nudge_interval: timedelta) -> Due:
        """Move on at most ``limit`` runs of each kind that is due; return those to nudge.

        In this order: a suspended run has its due waits timed out and is queued; a delayed
        one whose time has come is nudged; an executing one lost its worker: it is queued
        with one more crash, or fails as crashed with a dead letter; an unpublished end is
        nudged, and again after at least ``nudge_interval`` (growing with its age). Queued
        runs that were nudged before are left to :meth:`unclaimed`. A suspended run with event
        waits that were not looked for is returned as ``unlooked``, to be due again after
        ``nudge_interval``; such waits are not timed out yet.
        """

    def unclaimed(self, *, after: str, limit: int) -> Sequence[Unclaimed]:
        """Return queued runs whose nudge is overdue, at most ``limit``, the longest overdue first.

        All are of one task: the first by name after ``after`` that has any. Nothing is moved.
        """

    def recent_claims(self, *, within: timedelta, limit: int) -> Sequence[RecentClaim]:
        """Return runs claimed ``within`` this time, out of the last ``limit`` transitions."""

    def nudge_again(
        self, run_ids: Collection[UUID], *, nudge_interval: timedelta
    ) -> Sequence[Nudge]:
        """Put off those of the runs whose nudge is still overdue; return those to nudge.

        They are overdue again after at least ``nudge_interval``, which grows with their age.
        """

    def elect(self, sweeper: str, *, length: timedelta) -> Elected:
        """Make it the turn of ``sweeper`` for ``length`` from now, unless it is another's turn.

        The one whose turn it is may prolong it so. A turn of more than ``AHEAD`` such lengths is
        free: it was given before the store's clock was set back. Returns whose turn it is.
        """

    def resign(self, sweeper: str) -> None:
        """End the turn of ``sweeper``, if it is its turn."""

    def expire(self, *, limit: int) -> Sequence[Nudge]:
        """End at most ``limit`` runs whose ``deadline_at`` has come; return those to nudge.

        A queued run that was never started expires. Any other times out with a dead letter,
        an executing one too: its worker has lost it. Their waits are canceled, and their ends
        are to be published by the worker that gets the nudge.
        """
