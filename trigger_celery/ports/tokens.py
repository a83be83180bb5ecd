"""Tokens that outside parties complete, and open waits as people see and end them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import NewToken, Nudge, OpenWait, StoredToken
from trigger_celery.vocabulary.states import TokenState, WaitState


class Tokens(Protocol):
    """Waits that one outside party completes.

    A token is closed once. Its waits end after that commit: until they have, it is unsettled.
    """

    def create(self, new: NewToken) -> StoredToken:
        """Insert it *in the caller's transaction*; one that exists is returned as it is."""

    def get(self, token_id: UUID) -> StoredToken | None:
        """Return the token, or None."""

    def close(
        self, token_id: UUID, state: TokenState, *, value: str | None = None, by: str = ""
    ) -> bool:
        """Close it *in the caller's transaction*; False if it is closed or its time is over.

        A second closer waits until the first has committed or rolled back.
        """

    def waits(self, token_id: UUID, *, after: int, limit: int) -> Sequence[int]:
        """Return the ids of open waits on the token that are over ``after``, by id."""

    def settled(self, token_id: UUID) -> None:
        """Note that all waits that were open when the token was closed have ended."""

    def unsettled(self, *, limit: int) -> Sequence[UUID]:
        """Return closed tokens that are not noted as settled, first the one closed first."""


class OpenWaits(Protocol):
    """Open waits, one at a time and by hand; ``record`` is what the run's history keeps of it."""

    def find(
        self, *, run_id: UUID | None = None, kind: str = "", after: int = 0, limit: int
    ) -> Sequence[OpenWait]:
        """Return open waits whose id is over ``after``, by id."""

    def get(self, wait_id: int) -> OpenWait | None:
        """Return the wait if it is open."""

    def end(
        self,
        wait_id: int,
        state: WaitState,
        record: Mapping[str, str] | None = None,
        *,
        value: str | None = None,
    ) -> Nudge | None:
        """End the wait, noted in the run's history; a suspended run is queued.

        The nudge is of that run. Raises ``WaitNotFound`` if the wait is not open.
        """

    def extend(
        self, wait_id: int, delay: timedelta, record: Mapping[str, str] | None = None
    ) -> OpenWait:
        """Let the wait end so much later, noted in the run's history; return it as it is now.

        A token that would expire before then lives as long. Raises ``WaitNotFound`` if the
        wait is not open, ``InvalidTime`` if it has no end.
        """
