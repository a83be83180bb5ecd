"""``manage.py trigger_waits``: what runs wait for, and how a person ends it or puts it off."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client import waits
from trigger_celery.errors import DecodeError, TriggerError
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.records import LOOKED_FOR, OpenWait, StepKind
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.confirmation import user
from trigger_celery_django.management.filters import run_id
from trigger_celery_django.management.output import (
    add_format,
    as_json,
    cell,
    count,
    length,
    row_id,
    rows_as,
)

KINDS = sorted(str(kind) for kind in LOOKED_FOR | {StepKind.SLEEP, StepKind.RETRY})
COLUMNS = ("id", "run", "task", "kind", "key", "name", "due_at")

Act = Callable[[OpenWait, str], str]


class Command(DurableCommand):
    """Lists open waits; completes, skips and extends them."""

    help = "List what runs wait for; complete a wait, skip it, or give it more time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        listing = verbs.add_parser("list", help="show open waits, the oldest first")
        listing.add_argument("--run", metavar="ID", help="of this run only")
        listing.add_argument("--kind", choices=KINDS, default="", help="of this kind only")
        listing.add_argument("--after", type=row_id, default=0, metavar="WAIT_ID", help="next page")
        listing.add_argument("--limit", type=count, default=50, metavar="N", help="default: 50")
        add_format(listing)
        completing = verbs.add_parser("complete", help="give waits for tokens or events a value")
        completing.add_argument(
            "--value", type=_json, required=True, metavar="JSON", help="what the body gets"
        )
        skipping = verbs.add_parser("skip", help="end sleeps and timeouts now")
        extending = verbs.add_parser("extend", help="let waits end later")
        extending.add_argument(
            "--by", type=length, required=True, metavar="LENGTH", help="so long: 2d, 3h, 30m"
        )
        for each in (completing, skipping, extending):
            each.add_argument("ids", nargs="+", type=row_id, metavar="WAIT_ID")
            each.add_argument("--dry-run", action="store_true", help="only show what would be done")
            each.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; exit with 3 if it failed for some of several waits, with 1 if for all."""
        if options["verb"] == "list":
            self._list(options)
        else:
            self._each(options)

    def _list(self, options: Mapping[str, Any]) -> None:
        found = waits.open_waits(
            run_id=run_id(options["run"]) if options["run"] else None,
            kind=options["kind"],
            after=options["after"],
            limit=options["limit"],
        )
        rows = [_row(wait) for wait in found]
        for line in rows_as(options["format"], "waits", rows, COLUMNS):
            self.stdout.write(line)

    def _each(self, options: Mapping[str, Any]) -> None:
        act, by = ACTS[options["verb"]](options), user()
        done: dict[str, str] = {}
        failed: dict[str, str] = {}
        for wait_id in options["ids"]:
            try:
                wait = waits.checked_wait(wait_id, options["verb"])
                would = f"would {options['verb']} {wait.kind} {wait.key!r} of run {wait.run_id}"
                done[str(wait_id)] = would if options["dry_run"] else act(wait, by)
            except TriggerError as error:
                failed[str(wait_id)] = str(error)
        if options["json"]:
            shown = {"dry_run": options["dry_run"], "done": done, "failed": failed}
            self.stdout.write(as_json(shown))
        else:
            for key, line in done.items():
                self.stdout.write(f"{key}  {line}")
        if failed:
            lines = [f"{key}  {error}" for key, error in failed.items()]
            raise CommandError("\n".join(lines), returncode=3 if done else 1)


def _complete(options: Mapping[str, Any]) -> Act:
    def act(wait: OpenWait, by: str) -> str:
        waits.complete_wait(wait.id, options["value"], by=by)
        return "completed"

    return act


def _skip(options: Mapping[str, Any]) -> Act:
    def act(wait: OpenWait, by: str) -> str:
        waits.skip_wait(wait.id, by=by)
        return "skipped"

    return act


def _extend(options: Mapping[str, Any]) -> Act:
    def act(wait: OpenWait, by: str) -> str:
        later = waits.extend_wait(wait.id, options["by"], by=by)
        return f"waits until {cell(later.due_at)} UTC"

    return act


ACTS: dict[str, Callable[[Mapping[str, Any]], Act]] = {
    "complete": _complete,
    "skip": _skip,
    "extend": _extend,
}


def _row(wait: OpenWait) -> dict[str, object]:
    row: dict[str, object] = asdict(wait)
    row["run"] = row.pop("run_id")
    row["token"] = row.pop("token_id")
    if wait.token_id is not None:
        row["name"] = f"token {wait.token_id}"
    return row


def _json(text: str) -> object:
    try:
        return parse(text.encode("utf-8", "surrogateescape"))
    except DecodeError as error:
        raise ArgumentTypeError(f"expected JSON, as in '{{\"approved\": true}}': {error}") from None
