"""What failed for good: lists, groups of one cause, and what a person decides about them.

A dead letter has the id of its run. Retrying one is retrying its run: the same run with its
checkpoints, a new one from the start, or a new one from a step (see ``copies``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack
from uuid import UUID

from trigger_celery.client.access import permitted
from trigger_celery.client.async_calls import twin
from trigger_celery.client.copies import fork_run, rerun
from trigger_celery.client.runs import as_run_id, check_limit, retry_run
from trigger_celery.config import suggest
from trigger_celery.engine.core import Engine
from trigger_celery.engine.runs import control as run_control
from trigger_celery.errors import (
    DeadLetterNotFound,
    GroupNotFound,
    IllegalTransition,
    InvalidOption,
    TransactionOpen,
    UnknownOption,
)
from trigger_celery.values.failures import Failure, from_text
from trigger_celery.vocabulary.checks import instant, printable
from trigger_celery.vocabulary.records import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterOutline,
    DeadLetterPosition,
    GroupFilter,
    GroupPosition,
    Ignore,
)
from trigger_celery.vocabulary.states import DeadLetterState, GroupState

T = TypeVar("T", DeadLetterState, GroupState)

TALLIED, ROUNDS = 500, 20
"""How many changes a list of groups counts before it looks, in how many steps at most."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OUTLINE = tuple(field.name for field in fields(DeadLetterOutline))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSummary(DeadLetterOutline):
    """A dead letter in a list; :func:`get_dead_letter` has its error too.

    ``quarantined`` says that it came back after ``QUARANTINE_AFTER`` retries: those of many at a
    time pass it over.
    """

    quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterInfo(DeadLetterSummary):
    """A dead letter, with its ``error`` as it was when the run failed: traceback and source."""

    error: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """Some dead letters; ``next`` is the ``cursor`` of the page behind it, None for the last."""

    dead_letters: tuple[DeadLetterSummary, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """Some groups; ``next`` is the ``cursor`` of the page behind it, None for the last."""

    groups: tuple[DeadLetterGroup, ...]
    next: str | None


class DeadLetterFilters(TypedDict, total=False):
    """What :func:`list_dead_letters` may ask for: a dead letter has to fit all that is given.

    ``state``, ``task`` and ``error`` (the class of an error) may be several, of which it has one;
    of several tags its run has all. ``group`` is a fingerprint. ``since`` and ``until`` are aware
    times: it was last seen in between, ``until`` excluded. ``quarantined`` False leaves out what
    came back too often.
    """

    state: str | Collection[str]
    task: str | Collection[str]
    queue: str
    group: str
    error: str | Collection[str]
    tag: str | Collection[str]
    since: datetime | None
    until: datetime | None
    quarantined: bool


def list_dead_letters(
    *, cursor: str | None = None, limit: int = 100, **filters: Unpack[DeadLetterFilters]
) -> DeadLetterPage:
    """Return dead letters, the last seen first, a page at a time: :class:`DeadLetterFilters`.

    The next page has ``cursor=page.next``. Raises ``UnknownOption`` for a filter of another name,
    ``InvalidOption`` for a state, cursor or limit (1 to 1,000) that cannot be, ``InvalidTime``
    for a naive time.
    """
    engine = permitted("list_dead_letters").engine
    check_limit(limit)
    after = _position(cursor, "list_dead_letters")
    place = None if after is None else DeadLetterPosition(after[0], _id_in(after[1], cursor))
    wanted = dead_letter_filter(engine, filters)
    found = engine.patient.dead_letters.find(wanted, after=place, limit=limit + 1)
    page = tuple(_summary(engine, each) for each in found[:limit])
    more = len(found) > limit
    last = _cursor(page[-1].last_seen_at, page[-1].run_id.hex) if more else None
    return DeadLetterPage(dead_letters=page, next=last)


def dead_letter_filter(engine: Engine, given: DeadLetterFilters) -> DeadLetterFilter:
    """Return the record of what a list asks for. Raises as :func:`list_dead_letters`."""
    for name in given:
        if name not in DeadLetterFilters.__annotations__:
            hint = suggest(name, DeadLetterFilters.__annotations__)
            raise UnknownOption(f"list_dead_letters() has no filter {name!r}{hint}")
    since, until = given.get("since"), given.get("until")
    tame = given.get("quarantined", True) is False
    return DeadLetterFilter(
        states=_states(DeadLetterState, given.get("state", ())),
        tasks=_texts(given.get("task", ()), "task"),
        queue=printable(given.get("queue", ""), "queue"),
        group=printable(given.get("group", ""), "group"),
        kinds=_texts(given.get("error", ()), "error"),
        tags=_texts(given.get("tag", ()), "tag"),
        since=None if since is None else instant(since, "since"),
        until=None if until is None else instant(until, "until"),
        returns_below=engine.config.quarantine_after if tame else None,
    )


def get_dead_letter(run_id: UUID | str) -> DeadLetterInfo:
    """Return the dead letter of a run. Raises ``DeadLetterNotFound``, and ``RunNotFound``."""
    engine = permitted("get_dead_letter", run_id := as_run_id(run_id)).engine
    found = _found(engine, run_id)
    shown = {name: getattr(found, name) for name in _OUTLINE}
    return DeadLetterInfo(
        **shown,
        quarantined=_is_quarantined(engine, found),
        error=from_text(found.error) if found.error else None,
    )


def _found(engine: Engine, run_id: UUID) -> DeadLetter:
    found = engine.patient.dead_letters.get(run_id)
    if found is None:
        run = run_control.get(engine, run_id)
        raise DeadLetterNotFound(
            f"run {run_id} is {run.state} and has no dead letter: only runs that failed for good "
            "or timed out have one"
        )
    return found


def _is_quarantined(engine: Engine, dead_letter: DeadLetterOutline) -> bool:
    return dead_letter.returns >= engine.config.quarantine_after


def _summary(engine: Engine, found: DeadLetterOutline) -> DeadLetterSummary:
    shown = {name: getattr(found, name) for name in _OUTLINE}
    return DeadLetterSummary(**shown, quarantined=_is_quarantined(engine, found))


def retry_dead_letter(
    run_id: UUID | str,
    *,
    from_start: bool = False,
    step: str | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
    by: str = "",
) -> UUID:
    """Let the run of an open dead letter go on, and return the id of the run that does.

    The same run with its checkpoints goes on at the step that failed, as by ``retry_run``. With
    ``from_start``, or another input (``args``, ``kwargs``), it is a new run, as by
    :func:`rerun`; with ``step`` a new run from that step on, as by :func:`fork_run`.
    :func:`plan_retry` says what each of them runs again.

    Raises ``IllegalTransition`` for a dead letter that is not open, ``DeadLetterNotFound``, and
    what those functions raise, before anything is written.
    """
    if from_start and step is not None:
        raise InvalidOption(f"expected from_start or a step, got both: {step!r}")
    permit = permitted("retry_dead_letter", run_id := as_run_id(run_id), by=by, reason=reason)
    _check_open(permit.engine, run_id, "retried")
    if step is None and not from_start and args is None and kwargs is None:
        retry_run(run_id, reason=reason, by=by)
        return run_id
    if step is None:
        copy = partial(rerun, run_id, args=args, kwargs=kwargs, reason=reason, by=by)
    else:
        copy = partial(fork_run, run_id, step=step, args=args, kwargs=kwargs, reason=reason, by=by)
    return _hand_on(permit.engine, run_id, copy, permit.record)


def _hand_on(
    engine: Engine, run_id: UUID, copy: Callable[[], UUID], record: Mapping[str, str]
) -> UUID:
    """Create the copy and mark the dead letter, together or not at all."""
    with engine.store.joined():
        if not engine.store.dead_letters.hand_on(run_id, record):
            _check_open(engine, run_id, "retried")
        return copy()


def _check_open(engine: Engine, run_id: UUID, to: str) -> None:
    found = _found(engine, run_id)
    if found.state is not DeadLetterState.OPEN:
        when = (
            "" if found.settled_at is None else f" since {found.settled_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        actor = f" by {found.by}" if found.by else ""
        raise IllegalTransition(
            f"the dead letter of run {run_id} is {found.state}{when}{actor}: only an open one can "
            f"be {to}"
        )


def discard_dead_letter(run_id: UUID | str, *, reason: str = "", by: str = "") -> None:
    """Say of an open dead letter that nothing is to be done about it. Its run stays as it is.

    Raises ``IllegalTransition`` for one that is not open, ``DeadLetterNotFound``.
    """
    permit = permitted("discard_dead_letter", run_id := as_run_id(run_id), by=by, reason=reason)
    engine = permit.engine
    _check_open(engine, run_id, "discarded")

    def discard(again: bool) -> bool:
        return engine.store.dead_letters.discard(run_id, permit.record) or again

    if not engine.resolve(discard):
        _check_open(engine, run_id, "discarded")


def list_dead_letter_groups(
    *,
    state: str | Collection[str] = (),
    error: str | Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> GroupPage:
    """Return groups of dead letters, the last seen first, a page at a time.

    ``state`` is ``open``, ``ignored`` or ``resolved``, or several of them; ``error`` the class of
    the error; ``since`` and ``until`` say when a group was last seen. Up to 10,000 changes that
    no sweep has counted yet are counted first, unless a transaction is open. Raises as
    :func:`list_dead_letters`.
    """
    engine = permitted("list_dead_letter_groups").engine
    check_limit(limit)
    after = _position(cursor, "list_dead_letter_groups")
    wanted = GroupFilter(
        states=_states(GroupState, state),
        kinds=_texts(error, "error"),
        since=None if since is None else instant(since, "since"),
        until=None if until is None else instant(until, "until"),
    )
    _count(engine)
    place = None if after is None else GroupPosition(*after)
    found = engine.patient.dead_letters.groups(wanted, after=place, limit=limit + 1)
    page = tuple(found[:limit])
    more = len(found) > limit
    last = _cursor(page[-1].last_seen_at, page[-1].fingerprint) if more else None
    return GroupPage(groups=page, next=last)


def _count(engine: Engine) -> None:
    """Count what changed since the last sweep; in a transaction of the caller nothing can."""
    try:
        for _ in range(ROUNDS):
            if engine.patient.dead_letters.tally(limit=TALLIED).moved < TALLIED:
                return
    except TransactionOpen:
        return


def get_dead_letter_group(fingerprint: str) -> DeadLetterGroup:
    """Return a group by its fingerprint, or by its first digits if no other begins so.

    Raises ``GroupNotFound`` with the closest fingerprints.
    """
    engine = permitted("get_dead_letter_group", fingerprint).engine
    _count(engine)
    return _group(engine, printable(fingerprint, "group"))


def _group(engine: Engine, fingerprint: str) -> DeadLetterGroup:
    groups = engine.patient.dead_letters
    found = groups.group(fingerprint)
    if found is not None:
        return found
    alike = list(groups.groups_beginning_with(fingerprint, limit=4)) if fingerprint else []
    if len(alike) == 1 and (only := groups.group(alike[0])) is not None:
        return only
    if alike:
        raise GroupNotFound(f"several groups begin with {fingerprint!r}: {', '.join(alike)}")
    latest = groups.groups(GroupFilter(), limit=100)
    near = get_close_matches(fingerprint, [each.fingerprint for each in latest], n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise GroupNotFound(f"no group of dead letters has the fingerprint {fingerprint!r}{hint}")


def ignore_dead_letter_group(
    fingerprint: str,
    *,
    until: datetime | None = None,
    failures: int | None = None,
    per_hour: int | None = None,
    reason: str = "",
    by: str = "",
) -> DeadLetterGroup:
    """Keep a group out of sight, and return it: its dead letters stay as they are.

    It comes back at the time ``until``, after so many more ``failures``, or once an hour of the
    clock has so many (``per_hour``), whichever is first; for good without any. Raises
    ``GroupNotFound``, ``InvalidTime``, and ``InvalidOption`` for a number below one.
    """
    permit = permitted("ignore_dead_letter_group", fingerprint, by=by, reason=reason)
    for name, number in (("failures", failures), ("per_hour", per_hour)):
        if number is not None and (type(number) is not int or number < 1):
            raise InvalidOption(f"expected {name} to be a whole number over 0, got: {number!r}")
    engine = permit.engine
    time = None if until is None else instant(until, "until")
    if time is not None and time <= engine.patient.now():
        raise InvalidOption(f"expected until to be a time to come, got: {time.isoformat()}")
    _count(engine)
    group = _group(engine, printable(fingerprint, "group"))
    seen = None if failures is None else group.seen + failures
    ignore = Ignore(until=time, seen=seen, rate=per_hour)
    return _decided(engine, group, ignore, permit.record)


def show_dead_letter_group(fingerprint: str, *, reason: str = "", by: str = "") -> DeadLetterGroup:
    """Bring an ignored group back into sight, and return it. Raises ``GroupNotFound``."""
    permit = permitted("show_dead_letter_group", fingerprint, by=by, reason=reason)
    group = _group(permit.engine, printable(fingerprint, "group"))
    return _decided(permit.engine, group, None, permit.record)


def _decided(
    engine: Engine, group: DeadLetterGroup, ignore: Ignore | None, record: Mapping[str, str]
) -> DeadLetterGroup:
    after = engine.patient.dead_letters.ignore(group.fingerprint, ignore, record)
    if after is None:
        raise GroupNotFound(f"the group {group.fingerprint} was deleted meanwhile")
    return after


def _texts(value: str | Collection[str], what: str) -> tuple[str, ...]:
    return tuple(printable(each, what) for each in ([value] if isinstance(value, str) else value))


def _states(kind: type[T], value: str | Collection[str]) -> tuple[T, ...]:
    found = []
    for text in _texts(value, "state"):
        try:
            found.append(kind(text))
        except ValueError:
            hint = suggest(text, {str(state): state for state in kind})
            raise InvalidOption(f"no dead letter or group can be {text!r}{hint}") from None
    return tuple(found)


def _cursor(moment: datetime, name: str) -> str:
    """Return where a page ends, in letters that a URL takes as they are."""
    return f"{(moment - _EPOCH) // _MICROSECOND}-{name}"


def _position(cursor: str | None, verb: str) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    try:
        moment, _, name = cursor.partition("-")
        return _EPOCH + int(moment) * _MICROSECOND, printable(name, "cursor")
    except (ValueError, OverflowError, TypeError, AttributeError):
        raise InvalidOption(
            f"expected cursor to be the next of a page of {verb}(), got: {cursor!r}"
        ) from None


def _id_in(text: str, cursor: str | None) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidOption(
            f"expected cursor to be the next of a page of list_dead_letters(), got: {cursor!r}"
        ) from None


alist_dead_letters = twin(list_dead_letters)
aget_dead_letter = twin(get_dead_letter)
aretry_dead_letter = twin(retry_dead_letter)
adiscard_dead_letter = twin(discard_dead_letter)
alist_dead_letter_groups = twin(list_dead_letter_groups)
aget_dead_letter_group = twin(get_dead_letter_group)
aignore_dead_letter_group = twin(ignore_dead_letter_group)
ashow_dead_letter_group = twin(show_dead_letter_group)
