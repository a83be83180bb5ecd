"""``manage.py trigger_dead_letters``: what failed for good, and what a person decides about it."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from trigger_celery.client import dead_letters
from trigger_celery.client.access import database_time
from trigger_celery.client.copies import plan_retry
from trigger_celery.client.runs import stored_run
from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management import dead_letter_rows as rows
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.dead_letter_batches import ASKED_FROM, Batch, add_batch
from trigger_celery_django.management.filters import run_id
from trigger_celery_django.management.output import (
    add_format,
    as_json,
    cell,
    count,
    json_value,
    moment,
    plain,
    rows_as,
)
from trigger_celery_django.printable import visible


class Command(DurableCommand):
    """Lists, groups, shows, retries, discards and ignores dead letters."""

    help = "List, group, retry and discard what failed for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        add = partial(_verb, add_verbs(parser))
        listing = add("list", "show dead letters, the last seen first")
        rows.add_filters(listing)
        listing.add_argument("--state", action="append", metavar="STATE", help="default: open")
        listing.add_argument("--limit", type=count, default=20, metavar="N", help="default: 20")
        grouping = add("groups", "show groups of one cause, the last seen first")
        grouping.add_argument("--state", action="append", metavar="STATE", help="default: open")
        grouping.add_argument("--error", action="append", metavar="CLASS")
        grouping.add_argument("--since", type=moment, metavar="WHEN")
        grouping.add_argument("--until", type=moment, metavar="WHEN")
        grouping.add_argument("--limit", type=count, default=20, metavar="N", help="default: 20")
        add("show", "show a dead letter with its traceback").add_argument("id", metavar="ID")
        add_retry(add("retry", "let runs go on, by default at the step that failed"))
        add_batch(add("discard", "say that nothing is to be done about dead letters"))
        ignoring = add("ignore", "keep a group out of sight")
        ignoring.add_argument("group", metavar="GROUP")
        ignoring.add_argument("--until", type=moment, metavar="WHEN", help="a time, or 2h from now")
        ignoring.add_argument("--failures", type=count, metavar="N", help="until N more of them")
        ignoring.add_argument("--per-hour", type=count, metavar="N", help="until N in an hour")
        ignoring.add_argument("--stop", action="store_true", help="bring it back into sight")
        ignoring.add_argument("--reason", default="")
        ignoring.add_argument("--by", default="", help="name of the person")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        try:
            getattr(self, f"_{options['verb']}")(options)
        except TriggerError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        filters = rows.filters_of(options, state=options["state"] or "open")
        found = [rows.row(each) for each in rows.each(filters, limit=options["limit"])]
        self._print("dead_letters", found, rows.COLUMNS, options)

    def _groups(self, options: dict[str, Any]) -> None:
        page = dead_letters.list_dead_letter_groups(
            state=options["state"] or "open",
            error=options["error"] or (),
            since=rows.point(options["since"]),
            until=rows.point(options["until"]),
            limit=min(options["limit"], 1_000),
        )
        now = database_time()
        found = [rows.group_row(group, now) for group in page.groups]
        self._print("groups", found, rows.GROUP_COLUMNS, options, id_key="group")

    def _print(
        self,
        name: str,
        found: Sequence[dict[str, object]],
        columns: Sequence[str],
        options: dict[str, Any],
        *,
        id_key: str = "id",
    ) -> None:
        if not found:
            self.stderr.write(f"no {name.replace('_', ' ')}")
        for line in rows_as(options["format"], name, found, columns, id_key=id_key):
            self.stdout.write(line)

    def _show(self, options: dict[str, Any]) -> None:
        found = dead_letters.get_dead_letter(run_id(options["id"]))
        shown = rows.details(found)
        plan = plan_retry(found.run_id)
        shown["recalls"] = [call.key for call in plan.recalled]
        shown["runs_again"] = [call.key for call in plan.again]
        trace = "" if found.error is None else found.error.traceback
        if options["format"] in ("json", "jsonl"):
            data = {key: plain(value) for key, value in shown.items()}
            self.stdout.write(as_json({"dead_letter": {**data, "traceback": trace}}))
            return
        for name, value in shown.items():
            if value not in (None, "", []):
                self.stdout.write(f"{name.replace('_', ' '):<14} {cell(value)}")
        for line in trace.splitlines():
            self.stdout.write(visible(line))

    def _retry(self, options: dict[str, Any]) -> None:
        retry(self, options)

    def _discard(self, options: dict[str, Any]) -> None:
        discard(self, options)

    def _ignore(self, options: dict[str, Any]) -> None:
        given = {"reason": options["reason"], "by": options["by"]}
        if options["stop"]:
            group = dead_letters.show_dead_letter_group(options["group"], **given)
        else:
            until = options["until"]
            if isinstance(until, timedelta):
                until = database_time() + until
            group = dead_letters.ignore_dead_letter_group(
                options["group"],
                until=until,
                failures=options["failures"],
                per_hour=options["per_hour"],
                **given,
            )
        self.stdout.write(f"{group.fingerprint}  {group.state}")


def add_retry(parser: ArgumentParser) -> None:
    """Declare which dead letters are retried, and how."""
    add_batch(parser)
    parser.add_argument("--from-start", action="store_true", help="as new runs, from the start")
    parser.add_argument("--step", metavar="KEY", help="as new runs that go on at this step")
    # Not under their own names: Django takes "args" out of the options.
    of_list, of_dict = partial(json_value, kind=list), partial(json_value, kind=dict)
    parser.add_argument("--args", dest="new_args", type=of_list, metavar="JSON")
    parser.add_argument("--kwargs", dest="new_kwargs", type=of_dict, metavar="JSON")
    parser.add_argument(
        "--wait", action="store_true", help="until all have ended: exit 0 completed, 3 not"
    )


def retry(command: BaseCommand, options: dict[str, Any]) -> None:
    """Retry what the options choose."""
    way = {"from_start": options["from_start"], "step": options["step"]}
    given = {"args": options["new_args"], "kwargs": options["new_kwargs"]}
    record = {"reason": options["reason"], "by": options["by"]}
    edited = any(value is not None for value in given.values())
    started: list[UUID] = []

    def act(run_id: UUID) -> str:
        started.append(dead_letters.retry_dead_letter(run_id, **way, **given, **record))
        return "queued again" if started[-1] == run_id else f"started again as {started[-1]}"

    def plan(run_id: UUID) -> str:
        if edited and options["step"] is None:
            planned = plan_retry(run_id, from_start=True)
        else:
            planned = plan_retry(run_id, **way)
        recalled = ", ".join(call.key for call in planned.recalled) or "nothing"
        again = ", ".join(call.key for call in planned.again) or "what comes after that"
        return f"would {planned.way}: recalls {recalled}; runs again {again}"

    Batch(command, "retry", options).run(act, plan=plan, unasked=ASKED_FROM)
    if options["wait"]:
        _wait(started)


def discard(command: BaseCommand, options: dict[str, Any]) -> None:
    """Discard what the options choose."""

    def act(run_id: UUID) -> str:
        dead_letters.discard_dead_letter(run_id, reason=options["reason"], by=options["by"])
        return "discarded"

    Batch(command, "discard", options).run(act, plan=lambda run_id: "would discard")


def _wait(started: Sequence[UUID]) -> None:
    """Return when all runs have ended. Exits with 3 unless all completed."""
    others: list[str] = []
    for each in started:
        while not (state := stored_run(each).state).terminal:
            time.sleep(0.2)
        if state is not RunState.COMPLETED:
            others.append(f"run {each} ended as {state}")
    if others:
        raise CommandError("\n".join(others), returncode=3)


def _verb(verbs: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    add_format(parser)
    return parser
