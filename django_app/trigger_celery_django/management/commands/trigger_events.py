"""``manage.py trigger_events``: sends an event, or lists those that are stored."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client.events import preview_event, store_event, stored_events
from trigger_celery.client.runs import PAGE
from trigger_celery.errors import TriggerError
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.records import ListedEvent
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.output import as_json, count, table
from trigger_celery_django.management.run_rows import cut

COLUMNS = ("received", "name", "id", "source", "matched", "payload")
WIDEST = 60
"""So many characters of a payload are shown in the table; JSON has all of it."""


class Command(DurableCommand):
    """Sends and lists events."""

    help = "Send an event, or list the events that are stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        sending = verbs.add_parser("send", help="store an event; it starts and wakes runs")
        sending.add_argument("name", metavar="NAME")
        sending.add_argument("--payload", default="null", help="JSON, or - to read it from stdin")
        sending.add_argument("--id", help="a second event with this id does nothing")
        sending.add_argument("--source", default="", help="where it comes from")
        sending.add_argument("--dry-run", action="store_true", help="only show what it would do")
        listing = verbs.add_parser("list", help="show stored events, the latest first")
        listing.add_argument("--name", help="only those of this name")
        listing.add_argument("--source", help="only those from this source")
        listing.add_argument("--unmatched", action="store_true", help="only those still at work")
        listing.add_argument("--limit", type=count, default=20, metavar="N", help="at most so many")
        for each in (sending, listing):
            each.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        if options["verb"] == "list":
            self._list(options)
            return
        try:
            self._send(options)
        except TriggerError as error:
            raise CommandError(str(error)) from error

    def _send(self, options: dict[str, Any]) -> None:
        name, source = options["name"], options["source"]
        text = sys.stdin.read() if options["payload"] == "-" else options["payload"]
        payload = parse(text.encode())
        if options["dry_run"]:
            found = preview_event(name, payload, source=source)
            plan = {"starts": list(found.starts), "wakes": found.wakes}
            starts = ", ".join(found.starts) or "nothing"
            shown = f"would start {starts}; would end {found.wakes} waits"
        else:
            sent = store_event(name, payload, id=options["id"] or None, source=source)
            plan = {"id": sent.id, "name": name, "source": source, "stored": sent.stored}
            shown = sent.id
            if not sent.stored:
                self.stderr.write("an event with this id was stored before: nothing was done")
        self.stdout.write(as_json(plan) if options["json"] else shown)

    def _list(self, options: dict[str, Any]) -> None:
        rows = [_described(listed) for listed in _latest(options)]
        if options["json"]:
            self.stdout.write(as_json({"events": rows}))
            return
        if not rows:
            self.stdout.write("no events")
            return
        for line in table(COLUMNS, ({**row, "payload": _short(row)} for row in rows)):
            self.stdout.write(line)


def _latest(options: dict[str, Any]) -> list[ListedEvent]:
    """Return so many of the latest events as the options ask for, page by page."""
    found: list[ListedEvent] = []
    cursor: str | None = None
    while len(found) < options["limit"]:
        page, cursor = stored_events(
            name=options["name"] or "",
            source=options["source"],
            unmatched=options["unmatched"],
            cursor=cursor,
            limit=min(PAGE, options["limit"] - len(found)),
        )
        found += page
        if cursor is None:
            break
    return found


def _described(listed: ListedEvent) -> dict[str, Any]:
    """Return what is shown of an event: times in UTC, the payload as JSON that was stored."""
    event = listed.event
    return {
        "sequence": event.sequence,
        "received": _time(event.received_at),
        "name": event.name,
        "id": event.id,
        "source": event.source,
        "matched": None if listed.matched_at is None else _time(listed.matched_at),
        "payload": json.loads(event.payload),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _short(row: dict[str, Any]) -> str:
    return cut(json.dumps(row["payload"]), WIDEST)
