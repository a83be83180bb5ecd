"""Pages that are a table with what can be done with each row: waits, events, queues, schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from trigger_celery.client import events, queues, schedules, waits
from trigger_celery.client.access import acting, database_time
from trigger_celery.errors import DecodeError, TriggerError
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.records import OpenWait
from trigger_celery_django.admin.callers import caller_of, may, sees_payloads
from trigger_celery_django.admin.frame import frame
from trigger_celery_django.drawing.json_tree import json_tree
from trigger_celery_django.drawing.times import moment, since, spoken
from trigger_celery_django.models import DurableQueue, Event, Schedule, Wait
from trigger_celery_django.printable import visible

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's class takes no parameter at run time
    _ModelAdmin = admin.ModelAdmin

PAGE = 100
EXTENSION = timedelta(days=1)
"""How much later a wait ends that is extended from its page."""


@dataclass(frozen=True, slots=True)
class TableLine:
    """A row of a page: its cells, the ``key`` that acts name it by, and verbs that fit it now."""

    key: str
    cells: Sequence[SafeString | str]
    verbs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """What a page shows; ``next`` is the query of its next page, "" for the last."""

    lines: Sequence[TableLine]
    next: str = ""


class SectionAdmin(_ModelAdmin):
    """A table in the admin whose rows are read, and changed, by verbs of the Python API."""

    heading: ClassVar[str]
    remark: ClassVar[str]
    columns: ClassVar[Sequence[str]]
    empty: ClassVar[str]
    listing: ClassVar[str]
    """The verb that a person must be allowed to see the page."""
    words: ClassVar[Mapping[str, str]] = {}
    """What the buttons of verbs say."""
    takes_reason: ClassVar[frozenset[str]] = frozenset()
    """Verbs with a field for a reason."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come from code and from runs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Rows are changed by verbs only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Rows are deleted by verbs and by the sweep only."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Have a list and its acts, and no page for a single row."""
        name = f"trigger_celery_{self.opts.model_name}"
        act = require_POST(self.act_view)
        return [
            path("act/", self.admin_site.admin_view(act), name=f"{name}_act"),
            path("", self.admin_site.admin_view(self.changelist_view), name=f"{name}_changelist"),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the table."""
        if not may(request, self.listing):
            raise PermissionDenied
        try:
            with acting(caller_of(request)):
                table = self.table(request, database_time())
        except TriggerError as error:  # an edited cursor
            messages.warning(request, str(error))
            table = Table([])
        verbs = {verb for verb in self.words if may(request, verb)}
        lines = [
            (
                line,
                [
                    (verb, self.words[verb], verb in self.takes_reason)
                    for verb in line.verbs
                    if verb in verbs
                ],
            )
            for line in table.lines
        ]
        context = frame(
            request,
            self.admin_site,
            self.heading,
            section=str(self.opts.model_name),
            remark=self.remark,
            columns=self.columns,
            empty=self.empty,
            lines=lines,
            next=table.next,
            with_acts=any(each for _, each in lines),
            act=reverse(f"{self.admin_site.name}:trigger_celery_{self.opts.model_name}_act"),
        )
        return TemplateResponse(request, "trigger_celery/table.html", context)

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Carry out a verb on a row."""
        verb, key = request.POST.get("verb", ""), request.POST.get("key", "")
        if verb not in self.words or not (may(request, self.listing) and may(request, verb)):
            raise PermissionDenied
        try:
            with acting(caller_of(request)):
                said = self.act(verb, key, request.POST.get("value", ""))
        except TriggerError as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, self._logged(key), verb)
            messages.success(request, said)
        name = f"{self.admin_site.name}:trigger_celery_{self.opts.model_name}_changelist"
        return HttpResponseRedirect(reverse(name))

    def _logged(self, key: str) -> models.Model:
        return self.model(pk=key)  # type: ignore[no-any-return]  # what a log entry names

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return what the page shows."""
        raise NotImplementedError

    def act(self, verb: str, key: str, value: str) -> str:
        """Carry out a verb on the row ``key``; return what is to be said of it."""
        raise NotImplementedError


@admin.register(Wait)
class WaitAdmin(SectionAdmin):
    """Open waits, the oldest first."""

    heading = "Waits"
    remark = "what runs wait for, the oldest first"
    columns = ("Run", "Waits for", "Kind", "Until", "Called at")
    empty = "No run waits for anything."
    listing = "open_waits"
    words = {
        "complete_wait": "Complete",
        "skip_wait": "Time out now",
        "extend_wait": "One day more",
    }

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return a page of open waits: those ``after`` an id."""
        after = request.GET.get("after", "")
        first = int(after) if after.isdecimal() and len(after) < 19 else 0
        found = waits.open_waits(after=first, limit=PAGE + 1)
        lines = [self._line(each, now) for each in found[:PAGE]]
        return Table(lines, f"after={found[PAGE - 1].id}" if len(found) > PAGE else "")

    def _line(self, wait: OpenWait, now: datetime) -> TableLine:
        verbs = ["complete_wait"] if wait.kind in waits.COMPLETED else []
        verbs += ["skip_wait"] if wait.kind in waits.SKIPPED else []
        verbs += ["extend_wait"] if wait.due_at is not None else []
        cells = [
            _run_link(self.admin_site.name, wait.run_id, wait.task),
            format_html("<b>{}</b>", visible(wait.name or wait.key)),
            wait.kind.replace("_", " "),
            "" if wait.due_at is None else _until(wait.due_at, now),
            visible(wait.source),
        ]
        return TableLine(str(wait.id), cells, verbs)

    def act(self, verb: str, key: str, value: str) -> str:
        """Complete a wait with the JSON that was typed, let it time out, or extend it."""
        wait_id = int(key) if key.isdecimal() and len(key) < 19 else 0
        if verb == "complete_wait":
            if not value.strip():
                raise DecodeError("a wait is completed with a value: type JSON, null if it is none")
            waits.complete_wait(wait_id, parse(value.encode()))
            return "The wait is completed; its run goes on."
        if verb == "skip_wait":
            waits.skip_wait(wait_id)
            return "The wait is over, as if its time had come."
        waits.extend_wait(wait_id, EXTENSION)
        return f"The wait ends {spoken(EXTENSION)} later."


@admin.register(Event)
class EventAdmin(SectionAdmin):
    """Received events, the latest first."""

    heading = "Events"
    remark = "what was received, the latest first"
    columns = ("Received", "Name", "Id", "From", "Payload", "Compared with waits")
    empty = "No event was received, or none is kept."
    listing = "list_events"

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return a page of events: those before a ``cursor``."""
        given = request.GET
        found, following = events.stored_events(
            name=given.get("name", ""), cursor=given.get("cursor") or None, limit=PAGE
        )
        with_payloads = sees_payloads(request)
        lines = []
        for listed in found:
            event = listed.event
            lines.append(
                TableLine(
                    str(event.sequence),
                    [
                        f"{moment(event.received_at, now)} ({since(event.received_at, now)})",
                        format_html("<b>{}</b>", visible(event.name)),
                        format_html("<code>{}</code>", visible(event.id)),
                        visible(event.source) or "this application",
                        _payload(event.payload) if with_payloads else "",
                        "" if listed.matched_at is None else moment(listed.matched_at, now),
                    ],
                )
            )
        return Table(lines, f"cursor={following}" if following else "")


@admin.register(DurableQueue)
class QueueAdmin(SectionAdmin):
    """Durable queues: how full they are, and whether they are paused."""

    heading = "Queues"
    remark = "durable queues are admission limits, not the broker's queues"
    columns = ("Queue", "State", "Running", "In line", "Oldest waits", "Rate")
    empty = "No durable queue is declared."
    listing = "list_queues"
    words = {"pause_queue": "Pause", "resume_queue": "Resume"}
    takes_reason = frozenset({"pause_queue"})

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return all durable queues."""
        return Table([self._line(each, now) for each in queues.list_queues()])

    def _line(self, queue: queues.QueueInfo, now: datetime) -> TableLine:
        most = queue.limits.concurrency
        cells = [
            format_html("<b>{}</b>", visible(queue.name)),
            _state_of(queue),
            f"{queue.held:,}" if most is None else f"{queue.held:,} of {most:,}",
            f"{queue.waiting:,}",
            "" if queue.waiting_since is None else spoken(now - queue.waiting_since),
            "" if queue.limits.rate is None else visible(str(queue.limits.rate)),
        ]
        verb = "pause_queue" if queue.paused_at is None else "resume_queue"
        return TableLine(queue.name, cells, [verb])

    def act(self, verb: str, key: str, value: str) -> str:
        """Pause or resume a queue; what is typed is the reason."""
        if verb == "pause_queue":
            queues.pause_queue(key, reason=value.strip())
            return "The queue is paused: its runs stand in line."
        queues.resume_queue(key, reason=value.strip())
        return "The queue goes on."


@admin.register(Schedule)
class ScheduleAdmin(SectionAdmin):
    """Schedules: their rules, last and next times."""

    heading = "Schedules"
    remark = "when tasks are started again and again"
    columns = ("Schedule", "Task", "Rule", "State", "Last", "Next times")
    empty = "No schedule is declared or was created."
    listing = "list_schedules"
    words = {
        "run_schedule": "Run now",
        "pause_schedule": "Pause",
        "resume_schedule": "Resume",
    }

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return all schedules with their next three times."""
        return Table([self._line(each, now) for each in schedules.list_schedules(upcoming=3)])

    def _line(self, schedule: schedules.ScheduleInfo, now: datetime) -> TableLine:
        cells = [
            format_html("<b>{}</b>", visible(schedule.key)),
            visible(schedule.task),
            format_html("<code>{}</code>", visible(schedule.rule)),
            schedule.state.capitalize() + (", declared in code" if schedule.declared else ""),
            "" if schedule.last_at is None else moment(schedule.last_at, now),
            format_html_join(
                SafeString("<br>"), "{}", ((moment(each, now),) for each in schedule.upcoming)
            ),
        ]
        verb = "resume_schedule" if schedule.state == "paused" else "pause_schedule"
        return TableLine(schedule.key, cells, ["run_schedule", verb])

    def act(self, verb: str, key: str, value: str) -> str:
        """Start a run now, pause or resume a schedule."""
        if verb == "run_schedule":
            run_id = schedules.run_schedule(key)
            return f"Run {run_id} was started."
        verbs: dict[str, Callable[[str], object]] = {
            "pause_schedule": schedules.pause_schedule,
            "resume_schedule": schedules.resume_schedule,
        }
        verbs[verb](key)
        return f"The schedule is {verb.partition('_')[0]}d."

    def _logged(self, key: str) -> models.Model:
        return Schedule(key=key)


def _run_link(site: str, run_id: UUID, task: str) -> SafeString:
    url = reverse(f"{site}:trigger_celery_run_change", args=[run_id])
    return format_html(
        '<a href="{}">{}</a> <code class="q">…{}</code>', url, visible(task), run_id.hex[-6:]
    )


def _until(due_at: datetime, now: datetime) -> str:
    left = f"{spoken(due_at - now)} left" if due_at > now else "due"
    return f"{moment(due_at, now)}, {left}"


def _payload(stored: str) -> SafeString:
    return format_html('<div class="json">{}</div>', json_tree(stored, "payload", is_open=False))


def _state_of(queue: queues.QueueInfo) -> SafeString | str:
    if queue.paused_at is not None:
        said = " ".join(each for each in (queue.paused_by, queue.pause_reason) if each)
        return format_html('<span class="dot warn">Paused</span> {}', visible(said))
    if queue.stopped:
        return format_html('<span class="dot warn">Stopped</span> {}', visible(queue.stopped))
    most = queue.limits.concurrency
    if most is not None and queue.held >= most:
        return format_html('<span class="dot info">{}</span>', "At capacity")
    return format_html('<span class="dot ok">{}</span>', "Active" if queue.held else "Idle")
