"""The list of runs: filters, what each run does or did, counts by state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.cache import cache
from django.db import connections, router
from django.db.models import F
from django.db.models.functions import Left
from django.utils.html import format_html
from django.utils.safestring import SafeString

from trigger_celery.client.access import database_time
from trigger_celery.client.runs import (
    RunSummary,
    declared_names,
    ids_beginning_with,
    list_runs,
)
from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.admin.run_search import Search, parsed
from trigger_celery_django.drawing.badges import BADGES, badge, icon, shown_state
from trigger_celery_django.drawing.times import moment, since, spoken
from trigger_celery_django.models import Run, Wait
from trigger_celery_django.printable import visible
from trigger_celery_django.trace.awaited import Awaited, what_is_awaited

PAGE = 50
MATCHES = 10
"""So many ids that begin alike are named."""
COUNTED = 10_000
"""Counts go so far, and say that there are more: a page does not wait for a million rows."""
_COUNTS_LAST = 10
_SHORT = 120
_CHIPS = (
    RunState.EXECUTING,
    RunState.SUSPENDED,
    RunState.QUEUED,
    RunState.FAILED,
    RunState.TIMED_OUT,
    RunState.COMPLETED,
    RunState.CANCELED,
    RunState.EXPIRED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A run as the list shows it."""

    id: UUID
    task: str
    tags: tuple[str, ...]
    badge: SafeString
    tone: str
    says: SafeString
    input: str
    queue: str
    attempt: int
    took: str
    is_live: bool
    created_at: datetime
    since: str

    @property
    def short_id(self) -> str:
        """The last digits, by which people tell runs apart."""
        return self.id.hex[-6:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of the list, what was not understood of the search, ids that begin as asked for."""

    runs: list[Listed]
    next: str | None
    mistakes: list[str]
    matches: list[UUID]
    now: datetime


def found(given: Mapping[str, str], *, with_payloads: bool) -> Found:
    """Return the page of the list that a query asks for: ``q``, ``status``, ``after``."""
    now = database_time()
    search = parsed(given.get("q", ""), tasks=declared_names(), now=now)
    if status := given.get("status"):
        search.filters["state"] = [state for state in RunState if state == status]
    if search.id_prefix:
        matches = list(ids_beginning_with(search.id_prefix, limit=MATCHES))
        if not matches:
            search.mistakes.append(f"no run has an id that begins with {search.id_prefix}")
        return Found(runs=[], next=None, mistakes=search.mistakes, matches=matches, now=now)
    runs, following = _page(search, given.get("after") or None)
    shown = _shown(runs, now, with_payloads=with_payloads)
    return Found(runs=shown, next=following, mistakes=search.mistakes, matches=[], now=now)


def _page(search: Search, cursor: str | None) -> tuple[Sequence[RunSummary], str | None]:
    if search.is_impossible:
        return (), None
    try:
        page = list_runs(cursor=cursor, limit=PAGE, **search.filters)
    except TriggerError as error:  # a root that is no id, an edited cursor
        search.mistakes.append(str(error))
        return (), None
    return page.runs, page.next


def _shown(runs: Sequence[RunSummary], now: datetime, *, with_payloads: bool) -> list[Listed]:
    ids = [run.id for run in runs]
    awaited = _awaited([run.id for run in runs if run.state is RunState.SUSPENDED])
    values = _values(ids) if with_payloads else {}
    return [_listed(run, now, awaited.get(run.id, ()), values.get(run.id)) for run in runs]


def _awaited(ids: Sequence[UUID]) -> dict[UUID, list[Awaited]]:
    waits = Wait.objects.using(_alias()).filter(run__in=ids, state=WaitState.WAITING)
    by_run: dict[UUID, list[Awaited]] = defaultdict(list)
    for wait in waits.defer("value").order_by("pk") if ids else ():
        by_run[wait.run_id].append(what_is_awaited(wait))
    return by_run


def _values(ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return the beginnings of inputs and outputs: the whole may have megabytes."""
    rows = Run.objects.using(_alias()).filter(pk__in=ids)
    cut = rows.annotate(
        input_start=Left(F("input"), _SHORT), output_start=Left(F("output"), _SHORT)
    ).values_list("pk", "input_start", "output_start")
    return {pk: (given or "", returned or "") for pk, given, returned in cut}


def _listed(
    run: RunSummary, now: datetime, awaited: Sequence[Awaited], values: tuple[str, str] | None
) -> Listed:
    given, returned = values or ("", "")
    state = shown_state(
        run.state, is_paused=run.paused_at is not None, is_delayed=run.available_at > now
    )
    ended = run.finished_at or now
    return Listed(
        id=run.id,
        task=visible(run.task),
        tags=tuple(map(visible, run.tags)),
        badge=badge(state),
        tone=BADGES[state].tone,
        says=_says(run, now, awaited, returned, with_payloads=values is not None),
        input=visible(given),
        queue=visible(run.queue),
        attempt=run.attempt,
        took=spoken(ended - run.started_at) if run.started_at else "–",
        is_live=run.started_at is not None and run.finished_at is None,
        created_at=run.created_at,
        since=since(run.created_at, now),
    )


def _says(
    run: RunSummary,
    now: datetime,
    awaited: Sequence[Awaited],
    returned: str,
    *,
    with_payloads: bool,
) -> SafeString:
    """Return what a run does now, or how it ended, in a few words."""
    if run.error is not None:
        message = f": {run.error.message}"[:_SHORT] if with_payloads else ""
        return format_html("<b>{}</b>{}", visible(run.error.kind), visible(message))
    match run.state:
        case RunState.EXECUTING:
            return format_html("on <b>{}</b>", visible(run.worker))
        case RunState.SUSPENDED if awaited:
            left = _left(awaited[0], now)
            more = f" and {len(awaited) - 1} more" if len(awaited) > 1 else ""
            return format_html(
                "{} <b>{}</b>{}{}", awaited[0].verb, visible(awaited[0].what), left, more
            )
        case RunState.QUEUED if run.available_at > now:
            return format_html("starts at {}", moment(run.available_at, now))
        case RunState.QUEUED if run.queue:
            return format_html("in line of <b>{}</b>", visible(run.queue))
        case RunState.COMPLETED if returned:
            return format_html("→ {}", visible(returned))
    return SafeString("")


def _left(awaited: Awaited, now: datetime) -> str:
    if awaited.until is None:
        return ""
    return f", {spoken(awaited.until - now)} left" if awaited.until > now else ", due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A state that the list can be narrowed down to, and how many runs have it."""

    state: str
    word: str
    icon: SafeString | str
    count: str
    is_chosen: bool


def chips(chosen: str, now: datetime) -> tuple[list[Chip], str]:
    """Return a chip a state, and how old the counts are: they are kept for ten seconds."""
    kept: tuple[dict[str, int], datetime] | None = cache.get(_COUNTS_KEY)
    if kept is None:
        kept = (_counts(), now)
        cache.set(_COUNTS_KEY, kept, _COUNTS_LAST)
    counted, at = kept
    found = [Chip(state="", word="All", icon="", count="", is_chosen=not chosen)]
    for state in _CHIPS:
        count = counted.get(state, 0)
        if count or state == chosen:
            shown = BADGES[state]
            found.append(
                Chip(
                    state=state,
                    word=shown.word,
                    icon=icon(shown.icon, shown.tone),
                    count=f"{count:,}" if count <= COUNTED else f"{COUNTED:,}+",
                    is_chosen=state == chosen,
                )
            )
    return found, since(at, now)


_COUNTS_KEY = "trigger_celery.admin.counts"


def _counts() -> dict[str, int]:
    """Count the runs in each state, in one statement, each from its index and only so far."""
    connection = connections[_alias()]
    table = connection.ops.quote_name(Run._meta.db_table)
    one = f"SELECT %s, COUNT(*) FROM (SELECT 1 FROM {table} WHERE state = %s LIMIT %s) AS s{{}}"
    statement = " UNION ALL ".join(one.format(number) for number in range(len(_CHIPS)))
    params = [value for state in _CHIPS for value in (state.value, state.value, COUNTED + 1)]
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return dict(cursor.fetchall())


def _alias() -> str:
    return router.db_for_read(Run)
