"""Records of events, of the waits they end, and of what a replay finds recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from trigger_celery.vocabulary.records.steps import FailedAttempt, Holds, StepKind
from trigger_celery.vocabulary.states import WaitState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be stored; a second one with the same source and id is not stored again.

    ``source`` is where it came from: "" for this application.
    """

    id: str
    name: str
    payload: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """A named payload that was received and stored; ``sequence`` orders events."""

    sequence: int
    id: str
    name: str
    payload: str
    received_at: datetime
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What all events of a list have in common; ``source`` None and an empty name are any.

    ``unmatched`` asks for those that were not compared with all waits of their time yet.
    """

    name: str = ""
    source: str | None = None
    unmatched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEvent:
    """An event in a list; ``matched_at`` is when all waits open by then were compared with it."""

    event: StoredEvent
    matched_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWait:
    """Something to wait for. At most one of ``delay`` and ``until`` says how long.

    ``paths`` is the JSON list of the filter's sorted key paths and ``match_hash`` the
    signed 64-bit hash of its values; both empty/None for waits that no event ends.
    ``token_id`` is the token whose completion ends the wait.
    """

    key: str
    kind: StepKind
    position: int
    delay: timedelta | None = None
    until: datetime | None = None
    name: str = ""
    filter: str = ""
    paths: str = ""
    match_hash: int | None = None
    token_id: UUID | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """One suspension: the waits to add and the keys of all that may end it.

    ``next_attempt`` is the attempt the run resumes with; ``failed`` is the failure
    whose backoff this is.
    """

    waits: tuple[NewWait, ...]
    keys: tuple[str, ...]
    next_attempt: int
    token: str
    failed: FailedAttempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An open wait that may be over by now; of an event wait the filter decides.

    ``looked`` is false until the events stored before it were compared with it.
    """

    wait_id: int
    run_id: UUID
    key: str
    name: str
    filter: str
    kind: StepKind = StepKind.EVENT
    token_id: UUID | None = None
    looked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One recorded thing of a run, as a replay needs it.

    A checkpoint has ``value``; a wait has ``wait`` (its state), the ``event`` that ended it
    if one did, and the ``value`` that it was completed with. A failure that holds has
    ``error`` (what people see of it), and as its ``value`` what the body gets.
    """

    key: str
    kind: StepKind
    position: int
    value: str | None = None
    wait: WaitState | None = None
    event: StoredEvent | None = None
    error: str | None = None
    holds: Holds = Holds.NOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """All that earlier segments of a run recorded.

    ``failures`` counts, by step key, the failed attempts since the run began or was retried
    by a person.
    """

    recorded: Mapping[str, Outcome] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
