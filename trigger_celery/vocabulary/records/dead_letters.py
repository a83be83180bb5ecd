"""Records of dead letters and of their groups: what failed for good, and what is the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from trigger_celery.vocabulary.states import DeadLetterState, GroupState


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a list shows of the failure that ended a run; its whole text is stored beside it.

    Failures of one ``fingerprint`` are of one group. ``kind`` is the class of the error,
    ``message`` the beginning of what it said, on one line. ``step`` is the key of the step whose
    failure it is ("" for that of the body, or of no code at all), ``place`` the author's function
    and file that it came from.
    """

    fingerprint: str = ""
    kind: str = ""
    message: str = ""
    step: str = ""
    place: str = ""


NO_CAUSE = Cause()
"""Of an end without a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterOutline:
    """What a list shows of a dead letter: all but the text of its error.

    ``attempts`` and ``crashes`` are the run's when it failed last. ``returns`` counts how often it
    failed again after a person had retried it. ``settled_at`` is when it was retried, resolved or
    discarded, ``by`` and ``reason`` are of the person that did so.
    """

    run_id: UUID
    task: str
    queue: str
    state: DeadLetterState
    cause: Cause
    attempts: int
    crashes: int
    returns: int
    first_seen_at: datetime
    last_seen_at: datetime
    settled_at: datetime | None = None
    by: str = ""
    reason: str = ""

    @property
    def group(self) -> str:
        """The fingerprint that it shares with all letters of its group."""
        return self.cause.fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(DeadLetterOutline):
    """A run that failed for good and waits for a person; a later failure opens it again.

    ``error`` is the text of the failure as it was stored when it happened.
    """

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """What all dead letters of a list have in common; what is left empty is not asked.

    ``kinds`` are classes of errors. Letters were last seen at ``since`` or later and before
    ``until``, and came back less often than ``returns_below``. Of ``tags`` a run has all.
    """

    states: tuple[DeadLetterState, ...] = ()
    tasks: tuple[str, ...] = ()
    queue: str = ""
    group: str = ""
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    returns_below: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterPosition:
    """Where a page of a list of dead letters ends: lists are ordered by when they were seen."""

    last_seen_at: datetime
    run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """Until when a group of dead letters is out of sight: the first of what is given, or for good.

    ``until`` is a time, ``seen`` the number of failures of the group at which it comes back, and
    ``rate`` how many of them in one hour of the clock bring it back.
    """

    until: datetime | None = None
    seen: int | None = None
    rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterGroup:
    """Dead letters of one cause. A sweep counts them, so it may be a moment behind.

    ``open``, ``retried`` and ``settled`` (resolved or discarded) say how many letters are in which
    state, ``seen`` how many failures there were. ``recent`` has the failures of the last hours
    that had any: pairs of the hour (since 1970) and their number. ``regressed_at`` is when it last
    came back after it had been resolved, ``regressions`` how often it did. ``ignore`` says until
    when it is ignored, if it is.
    """

    fingerprint: str
    state: GroupState
    kind: str
    message: str
    place: str
    tasks: tuple[str, ...]
    open: int
    retried: int
    settled: int
    seen: int
    first_seen_at: datetime
    last_seen_at: datetime
    recent: tuple[tuple[int, int], ...] = ()
    regressed_at: datetime | None = None
    regressions: int = 0
    ignore: Ignore | None = None
    by: str = ""
    reason: str = ""

    @property
    def size(self) -> int:
        """How many dead letters are of this group, in whatever state."""
        return self.open + self.retried + self.settled


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """What all groups of a list have in common; what is left empty is not asked.

    They were last seen at ``since`` or later and before ``until``.
    """

    states: tuple[GroupState, ...] = ()
    kinds: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """Where a page of a list of groups ends: lists are ordered by when groups were seen."""

    last_seen_at: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the groups know of a dead letter: in which group and state it counts, how often."""

    group: str
    state: DeadLetterState
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncounted:
    """A dead letter that changed since its groups counted it; ``counted`` is None if none did."""

    dead_letter: DeadLetterOutline
    counted: Counted | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a pass over changed dead letters found: how many there were, and groups of note."""

    moved: int = 0
    new: tuple[DeadLetterGroup, ...] = ()
    regressed: tuple[DeadLetterGroup, ...] = ()
