"""The page of dead letters: a line for each group of one cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from trigger_celery.client import dead_letters
from trigger_celery.client.bulk.operations import start_bulk
from trigger_celery.vocabulary.records import DeadLetterGroup as Group
from trigger_celery_django.admin.callers import sees_payloads
from trigger_celery_django.admin.sections import PAGE, SectionAdmin, Table, TableLine
from trigger_celery_django.drawing.spark import spark
from trigger_celery_django.drawing.times import moment, since
from trigger_celery_django.models import DeadLetterGroup
from trigger_celery_django.printable import visible

_HOUR = 3_600


@admin.register(DeadLetterGroup)
class DeadLetterAdmin(SectionAdmin):
    """Groups of dead letters, the last seen first."""

    heading = "Dead letters"
    remark = "runs that failed for good, by cause, the last seen first"
    columns = ("Open", "Error", "Last 24 hours", "Seen", "First, last", "State")
    empty = "No run has failed for good."
    listing = "list_dead_letter_groups"
    words: ClassVar[Mapping[str, str]] = {
        "start_bulk": "Retry all",
        "ignore_dead_letter_group": "Ignore",
        "show_dead_letter_group": "Show again",
    }
    takes_reason = frozenset({"start_bulk"})

    def table(self, request: HttpRequest, now: datetime) -> Table:
        """Return a page of groups: those behind a ``cursor``."""
        page = dead_letters.list_dead_letter_groups(
            cursor=request.GET.get("cursor") or None, limit=PAGE
        )
        with_messages = sees_payloads(request)
        lines = [self._line(each, now, with_messages) for each in page.groups]
        return Table(lines, urlencode({"cursor": page.next}) if page.next else "")

    def _line(self, group: Group, now: datetime, with_messages: bool) -> TableLine:
        runs = reverse(f"{self.admin_site.name}:trigger_celery_run_changelist")
        query = urlencode({"q": f"error:{group.fingerprint} status:failed,timed_out"})
        cells = [
            format_html('<a href="{}?{}">{}</a>', runs, query, f"{group.open:,}"),
            _error(group, with_messages),
            spark(group.recent, int(now.timestamp()) // _HOUR, "bad"),
            f"{group.seen:,}",
            f"{moment(group.first_seen_at, now)} – {since(group.last_seen_at, now)}",
            _state(group),
        ]
        verbs = ["start_bulk"] if group.open else []
        ignored = group.ignore is not None
        verbs.append("show_dead_letter_group" if ignored else "ignore_dead_letter_group")
        return TableLine(group.fingerprint, cells, verbs)

    def act(self, verb: str, key: str, value: str) -> str:
        """Retry all open letters of a group, ignore the group, or show it again."""
        if verb == "start_bulk":
            group = dead_letters.get_dead_letter_group(key)  # an empty key would mean all of them
            operation = start_bulk(
                "retry",
                error=group.fingerprint,
                dead_letters=True,
                reason=value.strip(),
            )
            return f"{operation.planned:,} runs are retried by bulk operation {operation.id}."
        if verb == "ignore_dead_letter_group":
            dead_letters.ignore_dead_letter_group(key)
            return "The group is ignored until it is shown again."
        dead_letters.show_dead_letter_group(key)
        return "The group is shown again."


def _error(group: Group, with_messages: bool) -> SafeString:
    return format_html(
        '<b class="bad">{}</b> {}<br><span class="q">{} · {}</span>',
        visible(group.kind),
        visible(group.message[:160]) if with_messages else "",
        visible(group.place),
        visible(", ".join(group.tasks[:3])),
    )


def _state(group: Group) -> str:
    words = [str(group.state).capitalize()]
    if group.regressions:
        words.append(f"came back {group.regressions}×")
    if group.by:
        words.append(f"by {visible(group.by)}")
    return ", ".join(words)
