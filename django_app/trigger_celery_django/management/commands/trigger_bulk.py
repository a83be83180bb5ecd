"""``manage.py trigger_bulk``: start bulk operations, look at them, pause, resume and abort them."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client.bulk import operations
from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.records import BulkKind, BulkState
from trigger_celery_django.management import following
from trigger_celery_django.management.bulk import UNASKED, Bulk, add_bulk
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.confirmation import add_person
from trigger_celery_django.management.output import add_format, count, number, rows_as

DONE = {
    "pause": ("paused", "is not running"),
    "resume": ("resumed", "is not paused"),
    "abort": ("aborted", "is over already"),
}


class Command(DurableCommand):
    """Starts, lists and manages bulk operations."""

    help = "Start, list, show, follow, pause, resume and abort bulk operations on runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        add = partial(_verb, verbs)
        starting = add("start", "do one thing to all runs that a filter finds")
        starting.add_argument("kind", choices=[str(kind) for kind in BulkKind], metavar="KIND")
        add_bulk(starting)
        add_person(starting)
        starting.add_argument("--priority", type=number, metavar="N", help="of the kind prioritize")
        starting.add_argument("--to-queue", metavar="NAME", help="of the kind move")
        listing = add("list", "show the newest bulk operations")
        states = [str(state) for state in BulkState]
        listing.add_argument("--state", action="append", choices=states, help="repeatable")
        listing.add_argument("--limit", type=count, default=20, metavar="N", help="default: 20")
        add("show", "show one and what became of its runs").add_argument("id", metavar="ID")
        add("wait", "follow one to its end").add_argument("id", metavar="ID")
        for verb in DONE:
            managing = add(verb, f"{verb} bulk operations")
            managing.add_argument("ids", nargs="+", metavar="ID")
            add_person(managing)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        try:
            getattr(self, f"_{options['verb']}", self._manage)(options)
        except TriggerError as error:
            raise CommandError(str(error)) from error

    def _start(self, options: dict[str, Any]) -> None:
        change = {name: options[name] for name in ("priority", "to_queue")}
        given = {name: value for name, value in change.items() if value is not None}
        unasked = UNASKED if options["kind"] == BulkKind.RETRY else 0
        Bulk(self, options["kind"], options).run(None, unasked=unasked, **given)

    def _list(self, options: dict[str, Any]) -> None:
        found = operations.list_bulk(state=options["state"] or (), limit=options["limit"])
        rows = [following.row(each) for each in found]
        if not rows:
            self.stderr.write("no bulk operations")
        for line in rows_as(options["format"], "operations", rows, following.COLUMNS):
            self.stdout.write(line)

    def _show(self, options: dict[str, Any]) -> None:
        operation = operations.get_bulk(options["id"])
        following.show(self, operation, options["format"])
        if options["format"] == "table":
            for what, counts in (("skipped", operation.skipped), ("failed", operation.failed)):
                for why, number in counts.items():
                    self.stdout.write(f"{what} {number}: {why}")

    def _wait(self, options: dict[str, Any]) -> None:
        operation = operations.get_bulk(options["id"])
        following.follow(self, operation.id, options["format"])

    def _manage(self, options: dict[str, Any]) -> None:
        verb = getattr(operations, f"{options['verb']}_bulk")
        done, otherwise = DONE[options["verb"]]
        known = [operations.get_bulk(text).id for text in options["ids"]]  # all, before any is done
        for each in known:
            changed = verb(each, reason=options["reason"], by=options["by"])
            self.stdout.write(f"{each}  {done if changed else otherwise}")


def _verb(verbs: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    add_format(parser)
    return parser
