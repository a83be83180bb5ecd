"""How groups of dead letters count: pure functions from one record to the next.

A run that ends writes nothing to its group, whose row 10,000 equal failures would stand in line
for. It leaves its dead letter uncounted, and a pass of the sweep counts a batch at a time: each
letter is taken from the group and state in which it counted last, and added where it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from trigger_celery.vocabulary.records import (
    Counted,
    DeadLetterGroup,
    DeadLetterOutline,
    Ignore,
    Tally,
    Uncounted,
)
from trigger_celery.vocabulary.states import DeadLetterState, GroupState

HOURS = 48
"""So many hours a group remembers how often it failed in each of them."""
TASKS = 20
"""So many names of tasks a group keeps."""

_COLUMNS = {DeadLetterState.OPEN: "open", DeadLetterState.RETRIED: "retried"}


def hour_of(moment: datetime) -> int:
    """Return the hour of a time, counted from 1970."""
    return int(moment.timestamp()) // 3600


def counted(dead_letter: DeadLetterOutline) -> Counted:
    """Return what its group knows of a dead letter once it is counted."""
    return Counted(
        group=dead_letter.group, state=dead_letter.state, seen=seen_of(dead_letter.returns)
    )


def seen_of(returns: int) -> int:
    """Return how many failures a dead letter stands for."""
    return returns + 1


def groups_of(changes: Iterable[Uncounted]) -> list[str]:
    """Return the fingerprints of all groups that these changes are about, in order."""
    found = {each.dead_letter.group for each in changes}
    found |= {each.counted.group for each in changes if each.counted is not None}
    return sorted(found)


def tally(
    groups: Mapping[str, DeadLetterGroup], changes: Sequence[Uncounted], now: datetime
) -> tuple[list[DeadLetterGroup], Tally]:
    """Return the groups as they are once the changes are counted, and what is to be said of it.

    ``groups`` are those there are of :func:`groups_of`, and those whose time to be ignored is over.
    """
    after = dict(groups)
    seen: dict[str, int] = {}
    for change in changes:
        name = change.dead_letter.group
        gone = change.counted
        if gone is not None and gone.group in after:
            after[gone.group] = _moved(after[gone.group], gone.state, -1)
        after[name] = _moved(_known(after.get(name), change), change.dead_letter.state, +1)
        before = 0 if gone is None else gone.seen
        fresh = seen_of(change.dead_letter.returns) - before
        seen[name] = seen.get(name, 0) + fresh
        after[name] = _seen(after[name], change.dead_letter, fresh)
    new, regressed = [], []
    for name in after:
        after[name], came_back = _settled(after[name], seen.get(name, 0), now)
        if name not in groups:
            new.append(after[name])
        elif came_back:
            regressed.append(after[name])
    return list(after.values()), Tally(
        moved=len(changes), new=tuple(new), regressed=tuple(regressed)
    )


def _known(group: DeadLetterGroup | None, change: Uncounted) -> DeadLetterGroup:
    """Return the group with the latest words of its failures; a new one if there is none."""
    latest = change.dead_letter
    cause = latest.cause
    if group is None:
        return DeadLetterGroup(
            fingerprint=cause.fingerprint,
            state=GroupState.OPEN,
            kind=cause.kind,
            message=cause.message,
            place=cause.place,
            tasks=(latest.task,),
            open=0,
            retried=0,
            settled=0,
            seen=0,
            first_seen_at=latest.first_seen_at if latest.returns == 0 else latest.last_seen_at,
            last_seen_at=latest.last_seen_at,
        )
    if latest.last_seen_at >= group.last_seen_at:
        group = replace(group, message=cause.message, last_seen_at=latest.last_seen_at)
    if latest.task not in group.tasks and len(group.tasks) < TASKS:
        group = replace(group, tasks=tuple(sorted([*group.tasks, latest.task])))
    return replace(group, first_seen_at=min(group.first_seen_at, latest.last_seen_at))


def _moved(group: DeadLetterGroup, state: DeadLetterState, by: int) -> DeadLetterGroup:
    column = _COLUMNS.get(state, "settled")
    return replace(group, **{column: getattr(group, column) + by})


def _seen(group: DeadLetterGroup, dead_letter: DeadLetterOutline, fresh: int) -> DeadLetterGroup:
    if not fresh:
        return group
    hour, latest = hour_of(dead_letter.last_seen_at), hour_of(group.last_seen_at)
    recent = dict(group.recent)
    recent[hour] = recent.get(hour, 0) + fresh
    kept = tuple(pair for pair in sorted(recent.items()) if pair[0] > latest - HOURS)
    return replace(group, seen=group.seen + fresh, recent=kept)


def _settled(group: DeadLetterGroup, fresh: int, now: datetime) -> tuple[DeadLetterGroup, bool]:
    """Return the group in the state that follows from its counts, and whether it came back."""
    came_back = bool(fresh) and (
        group.state is GroupState.RESOLVED
        or (group.ignore is not None and comes_back(group, group.ignore, now))
    )
    if came_back:
        group = replace(reopened(group), regressed_at=now, regressions=group.regressions + 1)
    elif group.ignore is not None and is_over(group.ignore, now):
        group = reopened(group)
    if group.state is GroupState.OPEN and not (group.open or group.retried):
        group = replace(group, state=GroupState.RESOLVED)
    return group, came_back


def is_over(ignore: Ignore, now: datetime) -> bool:
    """Whether the time has come until which a group is ignored."""
    return ignore.until is not None and ignore.until <= now


def comes_back(group: DeadLetterGroup, ignore: Ignore, now: datetime) -> bool:
    """Whether a group that a person ignores has had enough failures, or its time is over."""
    in_hour = dict(group.recent).get(hour_of(group.last_seen_at), 0)
    return (
        is_over(ignore, now)
        or (ignore.seen is not None and group.seen >= ignore.seen)
        or (ignore.rate is not None and in_hour >= ignore.rate)
    )


def looked_at(
    group: DeadLetterGroup, ignore: Ignore | None, details: Mapping[str, str]
) -> DeadLetterGroup:
    """Return the group as a person wants it: out of sight until something, or in sight again."""
    if ignore is None:
        waits = group.open or group.retried
        state = GroupState.OPEN if waits else GroupState.RESOLVED
    else:
        state = GroupState.IGNORED
    by, reason = details.get("by", ""), details.get("reason", "")
    return replace(group, state=state, ignore=ignore, by=by, reason=reason)


def reopened(group: DeadLetterGroup) -> DeadLetterGroup:
    """Return the group as it is in sight again."""
    return replace(group, state=GroupState.OPEN, ignore=None, by="", reason="")
