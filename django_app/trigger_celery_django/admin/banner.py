"""One sentence above a run: how it ended, or why it does not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from trigger_celery.client.runs import is_declared
from trigger_celery.values.failures import Failure
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django.admin.history import reason_of
from trigger_celery_django.drawing.badges import BADGES, shown_state
from trigger_celery_django.drawing.times import moment, spoken
from trigger_celery_django.models import Run
from trigger_celery_django.printable import visible
from trigger_celery_django.trace import Rows
from trigger_celery_django.trace.awaited import Awaited, what_is_awaited


@dataclass(frozen=True, slots=True)
class Banner:
    """A sentence with the tone and icon of what it says."""

    tone: str
    icon: str
    text: SafeString


def banner(rows: Rows, failure: Failure | None, now: datetime, *, with_payloads: bool) -> Banner:
    """Return the sentence for a run as it is now; values of filters only if they may be seen."""
    run = rows.run
    state = RunState(run.state)
    shown = BADGES[
        shown_state(state, is_paused=run.paused_at is not None, is_delayed=run.available_at > now)
    ]
    if not state.terminal and not is_declared(run.task):
        return Banner("warn", "warn", _unknown_task(run))
    if run.paused_at is not None and not state.terminal:
        return Banner(shown.tone, shown.icon, _paused(rows, now))
    return Banner(shown.tone, shown.icon, _sentence(rows, state, failure, now, with_payloads))


def _sentence(
    rows: Rows, state: RunState, failure: Failure | None, now: datetime, with_payloads: bool
) -> SafeString:
    run = rows.run
    match state:
        case RunState.COMPLETED:
            return _completed(run)
        case RunState.FAILED | RunState.TIMED_OUT:
            return _failed(rows, state, failure)
        case RunState.CANCELED:
            said = reason_of(rows.history[-1]) if rows.history else ""
            return format_html("<b>Canceled</b> {}", visible(said) or "without a reason given")
        case RunState.EXPIRED:
            return SafeString("<b>Expired:</b> no worker started it in time.")
        case RunState.EXECUTING:
            since = spoken(now - (run.started_at or now))
            return format_html(
                "<b>A worker executes it:</b> {}, first started {} ago.", visible(run.worker), since
            )
        case RunState.SUSPENDED:
            return _suspended(rows, now, with_payloads)
    return _queued(run, now)


def _completed(run: Run) -> SafeString:
    said = [f"on attempt {run.attempt}"] if run.attempt > 1 else []
    if run.crashes:
        said.append(f"after {run.crashes} lost worker{'' if run.crashes == 1 else 's'}")
    return format_html("<b>Completed{}.</b>", " " + ", ".join(said) if said else "")


def _failed(rows: Rows, state: RunState, failure: Failure | None) -> SafeString:
    word = "Timed out" if state is RunState.TIMED_OUT else "Failed"
    kept = len(rows.checkpoints)
    again = f"A retry goes on from {kept:,} checkpoint{'' if kept == 1 else 's'}." if kept else ""
    if failure is None:
        return format_html("<b>{}.</b> {}", word, again)
    where = f"at {failure.file}:{failure.line}" if failure.file else ""
    return format_html(
        "<b>{}: <code>{}</code></b> {} <span class=q>{}</span> {}",
        word,
        visible(failure.kind),
        visible(" ".join(failure.message.split())[:300]),
        visible(where),
        again,
    )


def _paused(rows: Rows, now: datetime) -> SafeString:
    entry = next((each for each in reversed(rows.history) if each.verb == "pause"), None)
    said = reason_of(entry) if entry is not None else ""
    at = moment(rows.run.paused_at or now, now)
    return format_html("<b>Paused at {}</b> {}. It goes on when it is resumed.", at, visible(said))


def _suspended(rows: Rows, now: datetime, with_payloads: bool) -> SafeString:
    open_waits = [wait for wait in rows.waits if wait.state == WaitState.WAITING]
    if not open_waits:
        return SafeString("<b>Waiting</b> for the sweep to wake it.")
    phrases = [_awaited(what_is_awaited(wait), now, with_payloads) for wait in open_waits[:3]]
    more = f", and {len(open_waits) - 3} more" if len(open_waits) > 3 else ""
    return format_html(
        "<b>Waiting</b> {}{}. Nothing runs and nothing is held meanwhile.",
        format_html_join(" or ", "{}", ((phrase,) for phrase in phrases)),
        more,
    )


def _awaited(awaited: Awaited, now: datetime, with_payloads: bool) -> SafeString:
    return format_html(
        "{} <code>{}</code>{}{}",
        awaited.verb,
        visible(awaited.what),
        _with(awaited.wanted if with_payloads else ()),
        "" if awaited.until is None else f" until {moment(awaited.until, now)}",
    )


def _with(wanted: Sequence[tuple[str, str]]) -> SafeString:
    if not wanted:
        return SafeString("")
    pairs = format_html_join(
        " and ", "<code>{} = {}</code>", ((visible(a), visible(b)) for a, b in wanted[:5])
    )
    return format_html(" with {}", pairs)


def _unknown_task(run: Run) -> SafeString:
    return format_html(
        "<b>No code here declares <code>{}</code>,</b> so no worker of this code executes this "
        "run: declare it, name it in <code>aliases=</code> of what it is called now, or cancel it.",
        visible(run.task),
    )


def _queued(run: Run, now: datetime) -> SafeString:
    if run.available_at > now:
        return format_html(
            "<b>Starts at {}</b>, in {}.",
            moment(run.available_at, now),
            spoken(run.available_at - now),
        )
    waited = spoken(now - run.available_at)
    if run.queue:
        return format_html(
            "<b>In line</b> of the queue <code>{}</code> for {}.", visible(run.queue), waited
        )
    return format_html("<b>Ready for {}:</b> a free worker takes it.", waited)
