"""The page of one run: its trace beside its code, with what was chosen of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import router
from django.db.models import Max, Model, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils.safestring import SafeString

from trigger_celery.client.access import database_time
from trigger_celery.client.runs import stored_run
from trigger_celery.values.failures import Failure, from_text
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.admin.banner import banner
from trigger_celery_django.admin.code import code_of
from trigger_celery_django.admin.history import entries
from trigger_celery_django.admin.inspector import inspector
from trigger_celery_django.drawing.badges import badge, shown_state
from trigger_celery_django.drawing.rows import (
    TraceRow,
    axis,
    backdrop,
    legend,
    rows,
    rows_of,
    timeline,
)
from trigger_celery_django.drawing.times import moment, since, spoken
from trigger_celery_django.models import Checkpoint, FailedAttempt, History, Run
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import Rows, SpanKind, TraceSpan, read, span_of

ROWS = 500
"""So many rows of a trace are in one page."""
_SLOTS = 40
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Action:
    """A button: the verb it calls, its words; the first one may be the page's main action."""

    verb: str
    word: str
    asks: bool = False
    is_main: bool = False


def run_page(
    run_id: UUID, given: Mapping[str, str], *, with_payloads: bool
) -> dict[str, Any] | None:
    """Return the context of a run's page; None if there is no such run (any more).

    ``given`` is the query: ``span`` is what is looked at, ``idle=show`` unfolds idle time,
    ``from`` is the first row of a long trace.
    """
    stored_run(run_id)  # asks whether this person may
    alias = router.db_for_read(Run)
    found = read(alias, run_id)
    if found is None:
        return None
    now, run = database_time(), found.run
    trace = span_of(found) if with_payloads else span_of(found).without_values()
    listed = list(rows_of(trace))
    selected = _selected(listed, given.get("span", ""))
    failure = from_text(run.error) if run.error else None
    if failure is not None and not with_payloads:
        failure = Failure(kind=failure.kind, message="", file=failure.file, line=failure.line)
    return {
        "run": run,
        "run_id": str(run.pk),
        "name": visible(run.task),
        "tags": _tags(run),
        "badge": badge(_shown(run, now)),
        "is_live": not RunState(run.state).terminal,
        "banner": banner(found, failure, now, with_payloads=with_payloads),
        "facts": facts(run, trace, now),
        "selected": selected,
        "insp": inspector(selected, trace, now, alias=alias, with_payloads=with_payloads),
        "code": code_of(run, trace, selected, alias=alias),
        "history": entries(found.history, now),
        "related": related(found, now),
        "version": version_of(found),
        **_drawn(listed, trace, now, given, selected),
    }


def _drawn(
    listed: list[TraceRow],
    trace: TraceSpan,
    now: datetime,
    given: Mapping[str, str],
    selected: TraceSpan,
) -> dict[str, Any]:
    """Return the picture of the trace: a page of its rows, on the scale of all of them."""
    fold = given.get("idle") != "show"
    wanted = given.get("from", "")
    first = int(wanted) if wanted.isdecimal() and len(wanted) < _DIGITS else 0
    line = timeline(trace, now, fold=fold)
    shown = listed[first : first + ROWS]
    query = ("" if fold else "idle=show&amp;") + (f"from={first}&amp;" if first else "")
    return {
        "count": len(listed),
        "first": first + 1,
        "last": first + len(shown),
        "before": max(0, first - ROWS) if first else None,
        "after": first + ROWS if first + ROWS < len(listed) else None,
        "rows": rows(shown, line, selected=selected.id, query=query),
        "axis": axis(line),
        "backdrop": backdrop(line),
        "legend": legend(shown),
        "is_folded": fold,
        "has_folds": bool(line.scale.folds) or not fold,
    }


def _selected(listed: list[TraceRow], wanted: str) -> TraceSpan:
    """Return the chosen span; else what failed, else what is waited for, else the run."""
    spans = [row.span for row in listed]
    for span in spans:
        if span.id == wanted:
            return span
    trace = spans[0]
    if trace.state in (RunState.FAILED, RunState.TIMED_OUT):
        failed = [span for span in spans if span.kind is SpanKind.FAILED]
        return failed[-1] if failed else trace
    waits = [s for s in spans if s.kind is SpanKind.WAIT and s.ended_at is None]
    return waits[0] if waits and trace.state == RunState.SUSPENDED else trace


def _shown(run: Run, now: datetime) -> str:
    return shown_state(
        RunState(run.state),
        is_paused=run.paused_at is not None,
        is_delayed=run.available_at > now,
    )


def _tags(run: Run) -> list[str]:
    try:
        tags = json.loads(run.tags or "[]")
    except ValueError:
        return []
    return [visible(str(tag)) for tag in tags] if isinstance(tags, list) else []


def facts(run: Run, trace: TraceSpan, now: datetime) -> list[tuple[str, str, str]]:
    """Return name, value and a remark of what people ask first of a run."""
    worked = sum(
        span.lasted(now).total_seconds() for span in trace.spans if span.kind is SpanKind.SEGMENT
    )
    word = "Took" if run.finished_at else "Exists for"
    found = [
        (word, spoken(trace.lasted(now)), f"of it {spoken(timedelta(seconds=worked))} at work")
    ]
    crashes = f"{run.crashes} lost worker{'' if run.crashes == 1 else 's'}" if run.crashes else ""
    of = f" of {run.max_attempts}" if run.max_attempts else ""
    found.append(("Attempt", f"{run.attempt}{of}", crashes))
    found.append(("Created", moment(run.created_at, now), since(run.created_at, now)))
    if run.deadline_at is not None and run.finished_at is None:
        found.append(("Deadline", moment(run.deadline_at, now), ""))
    if run.queue:
        found.append(("Queue", visible(run.queue), visible(run.concurrency_key)))
    if run.priority:
        found.append(("Priority", str(run.priority), ""))
    if run.version:
        found.append(("Version", run.version[:12], ""))
    return found


@dataclass(frozen=True, slots=True)
class Related:
    """Another run, or what started this one."""

    role: str
    text: str
    run_id: UUID | None = None
    badge: SafeString | str = ""


def related(found: Rows, now: datetime) -> list[Related]:
    """Return the runs that belong to this one, and what started it."""
    run = found.run
    kin = [
        Related(role, str(run_id), run_id)
        for role, run_id in (
            ("Parent", run.parent_id),
            ("Top of the tree", run.root_id if run.root_id != run.parent_id else None),
            ("Copied from", run.copied_from_id),
        )
        if run_id is not None
    ]
    if run.schedule:
        kin.append(Related("Schedule", visible(run.schedule)))
    for child in found.children[:_SLOTS]:
        shown = badge(_shown(child.run, now))
        kin.append(Related("Child", visible(child.run.task), child.run.pk, shown))
    hidden = (
        len(found.children) - _SLOTS + found.more if len(found.children) > _SLOTS else found.more
    )
    if hidden > 0:
        kin.append(Related("Children", f"{hidden:,} more"))
    return kin


def version_of(found: Rows) -> str:
    """Return what changes with all that the run itself records; its children have their own."""
    last = max((entry.sequence for entry in found.history), default=0)
    step = max((step.pk for step in found.checkpoints), default=0)
    failed = max((failure.pk for failure in found.failures), default=0)
    return f"{last}-{step}-{failed}"


def actions_of(run: Run) -> list[Action]:
    """Return what can be done with a run as it is now."""
    state = RunState(run.state)
    if state.terminal:
        again = Action("rerun", "Rerun")
        if state in (RunState.FAILED, RunState.TIMED_OUT):
            return [Action("retry_run", "Retry from checkpoint", is_main=True), again]
        return [again]
    pause = Action("pause_run", "Pause")
    if run.paused_at is not None:
        pause = Action("resume_run", "Resume", is_main=True)
    return [pause, Action("cancel_run", "Cancel…", asks=True)]


def current_version(run_id: UUID) -> str | None:
    """Return what :func:`version_of` would now, in one statement; None if there is no such run."""

    def last(model: type[Model], column: str) -> Coalesce:
        rows = model._default_manager.filter(run=OuterRef("pk")).order_by()
        return Coalesce(Subquery(rows.values("run").annotate(n=Max(column)).values("n")), 0)

    ends = Run.objects.using(router.db_for_read(Run)).filter(pk=run_id)
    found = ends.values_list(
        last(History, "sequence"), last(Checkpoint, "pk"), last(FailedAttempt, "pk")
    ).first()
    return None if found is None else "-".join(map(str, found))
