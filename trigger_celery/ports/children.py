"""Runs that other runs started and wait for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import ChildEnd, Created, Lease, NewRun, Nudge


class Children(Protocol):
    """The runs that a run started; ``key`` is the ``parent_key`` that one fan-out shares."""

    def create(self, lease: Lease, runs: Sequence[NewRun]) -> Created:
        """Insert queued children of the leased run; return the ids that were new.

        The run's history lists them. A parent that was canceled meanwhile starts nothing:
        a worker that closes its children afterwards finds all there will ever be.
        """

    def live(self, parent_id: UUID, key: str) -> bool:
        """Whether one of these children has still to end."""

    def ends(self, ids: Collection[UUID]) -> Mapping[UUID, ChildEnd]:
        """Return where these runs are, by id; unknown ones are left out."""

    def close(
        self, parent_id: UUID, error: str, *, limit: int, key: str | None = None
    ) -> Sequence[Nudge]:
        """Cancel at most ``limit`` children that are live and close with their parent.

        Of one fan-out, if ``key`` names it. Returns the nudges: none once none is left.
        ``error`` is stored as a failure's is, and says why.
        """
