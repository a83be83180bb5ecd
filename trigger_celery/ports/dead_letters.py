"""What failed for good and waits for a person, one by one and in groups of one cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from trigger_celery.vocabulary.records import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterOutline,
    DeadLetterPosition,
    GroupFilter,
    GroupPosition,
    Ignore,
    Tally,
)


class DeadLetters(Protocol):
    """The dead letters. A run opens its own when it ends, retries it and resolves it by itself.

    ``details`` name the person that asked (``by``) and why (``reason``).
    """

    def get(self, run_id: UUID) -> DeadLetter | None:
        """Return the dead letter of a run, or None."""

    def find(
        self, wanted: DeadLetterFilter, *, after: DeadLetterPosition | None = None, limit: int
    ) -> Sequence[DeadLetterOutline]:
        """Return those that were asked for, the last seen first; of equal times the greatest id.

        Those that come behind the position ``after`` only.
        """

    def discard(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        """Discard an open dead letter and note it in its run's history; False for any other."""

    def hand_on(self, run_id: UUID, details: Mapping[str, str]) -> bool:
        """Mark an open dead letter as retried by another run, *in the caller's transaction*.

        False for any other. A copy of the run resolves it by its completion.
        """

    def tally(self, *, limit: int) -> Tally:
        """Bring the groups up to date with at most ``limit`` dead letters that changed.

        Any number of callers may do so at a time: each change counts once.
        """

    def groups(
        self, wanted: GroupFilter, *, after: GroupPosition | None = None, limit: int
    ) -> Sequence[DeadLetterGroup]:
        """Return those that were asked for, the last seen first; of equal times the greatest."""

    def group(self, fingerprint: str) -> DeadLetterGroup | None:
        """Return a group, or None."""

    def groups_beginning_with(self, digits: str, *, limit: int) -> Sequence[str]:
        """Return the fingerprints that begin with these hexadecimal digits, in order."""

    def ignore(
        self, fingerprint: str, ignore: Ignore | None, details: Mapping[str, str]
    ) -> DeadLetterGroup | None:
        """Ignore a group, or with None look at it again; return it, None if there is none."""
