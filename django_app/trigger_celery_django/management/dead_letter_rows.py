"""Dead letters and their groups as the commands choose and show them."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from trigger_celery.client.access import database_time
from trigger_celery.client.dead_letters import (
    DeadLetterFilters,
    DeadLetterInfo,
    DeadLetterSummary,
    get_dead_letter_group,
    list_dead_letters,
)
from trigger_celery.client.runs import PAGE
from trigger_celery.vocabulary.records import DeadLetterGroup
from trigger_celery.vocabulary.states import DeadLetterState
from trigger_celery_django.management.output import moment
from trigger_celery_django.management.run_rows import cut

COLUMNS = ("id", "task", "state", "last_seen_at", "returns", "step", "error", "group")
GROUP_COLUMNS = ("group", "state", "open", "seen", "last_seen_at", "last_day", "tasks", "error")
FILTERS = ("task", "queue", "group", "error", "tag", "since", "until")
BARS = " .:-=+*#%@"


def add_filters(parser: ArgumentParser) -> None:
    """Declare the options that choose dead letters."""
    parser.add_argument("--task", action="append", metavar="NAME", help="repeatable: one of them")
    parser.add_argument("--queue", default="", metavar="NAME", help="of a durable queue")
    parser.add_argument("--group", default="", metavar="FINGERPRINT", help="of one cause")
    parser.add_argument("--error", action="append", metavar="CLASS", help="class of the error")
    parser.add_argument("--tag", action="append", help="repeatable: runs that have all of them")
    parser.add_argument("--since", type=moment, metavar="WHEN", help="last seen since: 2h, a time")
    parser.add_argument("--until", type=moment, metavar="WHEN", help="last seen before")


def has_filter(options: Mapping[str, Any]) -> bool:
    """Whether any option narrows down which dead letters are meant."""
    return any(options[name] for name in FILTERS)


def filters_of(options: Mapping[str, Any], *, state: str | Sequence[str]) -> DeadLetterFilters:
    """Return what the options ask for. Raises ``GroupNotFound`` with the closest one."""
    group = options["group"] and get_dead_letter_group(options["group"]).fingerprint
    found: DeadLetterFilters = {
        "task": options["task"] or (),
        "queue": options["queue"],
        "group": group,
        "error": options["error"] or (),
        "tag": options["tag"] or (),
        "since": point(options["since"]),
        "until": point(options["until"]),
        "state": state,
    }
    return found


def point(given: timedelta | datetime | None) -> datetime | None:
    """Return a time that was given as one, or as how long ago it is."""
    return database_time() - given if isinstance(given, timedelta) else given


def each(
    filters: DeadLetterFilters, *, limit: int | None, page: int = PAGE
) -> Iterator[DeadLetterSummary]:
    """Yield the dead letters, a page in memory at a time; so many at most."""
    cursor, left = None, limit
    while left is None or left > 0:
        size = page if left is None else min(page, left)
        found = list_dead_letters(cursor=cursor, limit=size, **filters)
        yield from found.dead_letters
        if found.next is None:
            return
        cursor, left = found.next, None if left is None else left - size


def row(found: DeadLetterSummary) -> dict[str, object]:
    """Return what a list shows of a dead letter."""
    state = f"{found.state}, quarantined" if found.quarantined else str(found.state)
    return {
        "id": found.run_id,
        "task": found.task,
        "queue": found.queue,
        "state": state if found.state is DeadLetterState.OPEN else str(found.state),
        "step": found.cause.step,
        "error": cut(f"{found.cause.kind}: {found.cause.message}", 60),
        "group": found.group,
        "attempts": found.attempts,
        "crashes": found.crashes,
        "returns": found.returns,
        "first_seen_at": found.first_seen_at,
        "last_seen_at": found.last_seen_at,
        "settled_at": found.settled_at,
        "by": found.by,
        "reason": found.reason,
    }


def details(found: DeadLetterInfo) -> dict[str, object]:
    """Return all of a dead letter but the traceback, which has lines of its own."""
    shown = {**row(found), "error": f"{found.cause.kind}: {found.cause.message}"}
    return {**shown, "place": found.cause.place}


def group_row(group: DeadLetterGroup, now: datetime) -> dict[str, object]:
    """Return what a list shows of a group; ``last_day`` draws its failures by the hour."""
    return {
        "group": group.fingerprint,
        "state": f"{group.state}, regressed" if group.regressed_at else str(group.state),
        "open": group.open,
        "retried": group.retried,
        "settled": group.settled,
        "seen": group.seen,
        "first_seen_at": group.first_seen_at,
        "last_seen_at": group.last_seen_at,
        "last_day": sparkline(group, now),
        "tasks": list(group.tasks),
        "error": cut(f"{group.kind}: {group.message}", 60),
        "place": group.place,
        "regressions": group.regressions,
        "by": group.by,
        "reason": group.reason,
    }


def sparkline(group: DeadLetterGroup, now: datetime) -> str:
    """Draw the failures of the last 24 hours, the current one last."""
    counts, hour = dict(group.recent), int(now.astimezone(UTC).timestamp()) // 3600
    bars = [counts.get(hour - ago, 0) for ago in reversed(range(24))]
    top = max(bars)
    levels = len(BARS) - 1
    return "|" + "".join(BARS[-(-count * levels // top) if top else 0] for count in bars) + "|"


def rate(text: str) -> float:
    """Return how many a second ``20/s``, ``300/m`` or ``5`` is."""
    number, _, unit = text.partition("/")
    try:
        per_second = float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        per_second = 0.0
    if not 0 < per_second < 1e6:
        raise ArgumentTypeError(f"expected a rate such as 20/s, 300/m or 5/h, got: {text!r}")
    return per_second
