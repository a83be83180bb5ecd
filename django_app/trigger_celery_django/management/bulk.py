"""One verb for many runs: at once for those that are named, as a bulk operation for a filter."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from trigger_celery import RateLimit
from trigger_celery.client.bulk.operations import BulkPlan, plan_bulk, start_bulk
from trigger_celery.client.runs import PAGE, stored_run
from trigger_celery.errors import RunNotFound, TriggerError
from trigger_celery.vocabulary.records import BULK_STATES, BulkKind
from trigger_celery_django.management import following, queue_rows
from trigger_celery_django.management.confirmation import confirm
from trigger_celery_django.management.filters import (
    add_filters,
    filters_of,
    has_filter,
    page_of,
    run_id,
    unknown_task,
)
from trigger_celery_django.management.output import as_json, cell, count

UNASKED = 20
"""So many runs are retried without a question."""

Act = Callable[[UUID], str]


def add_bulk(parser: ArgumentParser) -> None:
    """Declare which runs are meant, and how to be asked."""
    parser.add_argument("ids", nargs="*", metavar="ID")
    add_filters(parser)
    parser.add_argument("--all", action="store_true", help="every run that the verb can be done to")
    parser.add_argument("--limit", type=count, metavar="N", help="the newest N of them at most")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--yes", "--noinput", dest="yes", action="store_true", help="do not ask for confirmation"
    )
    pace = parser.add_argument_group("of runs that are not named")
    pace.add_argument("--rate", type=rate, metavar="RATE", help="so many runs: 20/s, 100/60s")
    pace.add_argument(
        "--batch-size", type=count, default=500, metavar="N", help="in one transaction (500)"
    )
    pace.add_argument("--wait", action="store_true", help="follow the operation to its end")


def rate(text: str) -> RateLimit | None:
    """Return a rate such as ``20/s`` or ``100/60s``; None for ``none``."""
    return queue_rows.rate(re.sub(r"/([smhd])$", r"/1\1", text.strip()))


class Bulk:
    """Does one verb to the runs that the options choose."""

    def __init__(self, command: BaseCommand, verb: str, options: Mapping[str, Any]) -> None:
        self._command = command
        self._verb = verb
        self._options = options
        self._json = options["format"] == "json"

    def run(self, act: Act | None, *, unasked: int = 0, **change: Any) -> None:
        """Do it: ``act`` at once to each run that is named, workers to those of a filter.

        More than ``unasked`` runs found by filters are confirmed by a person. ``change`` is what
        the kind of operation needs. Exits with 3 if it failed for some of several runs, with 1
        if for all.
        """
        options = self._options
        if bool(options["ids"]) == (has_filter(options) or options["all"]):
            raise CommandError(
                f"name the runs to {self._verb}, or choose them with filters or --all, not both"
            )
        ids = self._named() if options["ids"] else []
        if ids and options["dry_run"]:
            self._show_ids([str(each) for each in ids])
        elif ids and act is not None and options["rate"] is None and not options["wait"]:
            self._do(ids, act)
        else:
            self._start({"ids": ids} if ids else self._filter(), unasked, change)

    def _named(self) -> list[UUID]:
        """Return the ids that a person named. Raises ``CommandError`` unless all are runs'."""
        ids: list[UUID] = []
        missing: list[str] = []
        for text in self._options["ids"]:
            try:
                ids.append(stored_run(run_id(text)).id)
            except RunNotFound:
                missing.append(text)
        if missing:
            raise CommandError(f"no run has the id {', '.join(missing)}; nothing was done")
        return list(dict.fromkeys(ids))

    def _filter(self) -> dict[str, Any]:
        """Return the filter of an operation; of states those alone that the verb can be done to."""
        options, allowed = self._options, BULK_STATES[BulkKind(self._verb)]
        given: dict[str, Any] = dict(filters_of({**options, "state": None}))
        if options["state"]:
            given["state"] = [str(each) for each in allowed if each in options["state"]]
        return given or {"everything": True}

    def _start(self, chosen: dict[str, Any], unasked: int, change: Mapping[str, Any]) -> None:
        options = self._options
        given: Any = {**chosen, **change, "at_most": options["limit"]}
        plan = self._planned(given)
        self._show_plan(plan)
        if options["dry_run"]:
            self._show_ids(self._ids(plan.count))
            return
        if not plan.count:
            return
        if "ids" not in chosen and plan.count > unasked and not options["yes"]:
            self._confirm(plan.count)
        asked = {name: options[name] for name in ("rate", "batch_size", "reason", "by")}
        operation = start_bulk(self._verb, **given, **asked)
        if options["wait"]:
            following.follow(self._command, operation.id, options["format"])
            return
        following.show(self._command, operation, options["format"])
        self._command.stderr.write(
            f"workers carry it out; manage.py trigger_bulk wait {operation.id} follows it"
        )

    def _planned(self, given: Any) -> BulkPlan:
        if given.get("state") == []:  # none of those that were asked for
            return BulkPlan(kind=BulkKind(self._verb), count=0, tasks=())
        return plan_bulk(self._verb, **given)

    def _show_plan(self, plan: BulkPlan) -> None:
        """Show how many runs are meant, of which tasks and of what time."""
        say = self._command.stderr.write
        why = "" if plan.count else unknown_task(self._options)
        say(f"runs to {self._verb}: {plan.count}{why and f'; {why}'}")
        for each in plan.tasks:
            first, last = cell(each.oldest), cell(each.newest)
            say(f"  {cell(each.task)}: {each.count}, created {first} to {last} UTC")

    def _ids(self, most: int) -> list[str]:
        """Return the ids of the runs that are meant, the newest first."""
        options, allowed = self._options, BULK_STATES[BulkKind(self._verb)]
        states = [each for each in allowed if each in (options["state"] or allowed)]
        found: list[str] = []
        cursor: str | None = None
        while len(found) < most:
            limit = min(PAGE, most - len(found))
            page = page_of({**options, "state": states}, cursor=cursor, limit=limit)
            found += [str(run.id) for run in page.runs]
            cursor = page.next
            if cursor is None:
                break
        return found

    def _show_ids(self, ids: Sequence[str]) -> None:
        if self._json:
            self._command.stdout.write(as_json({"dry_run": True, "runs": list(ids)}))
            return
        only_ids = self._options["format"] == "ids"
        for each in ids:
            self._command.stdout.write(each if only_ids else f"{each}  would {self._verb}")

    def _confirm(self, count: int) -> None:
        meant = f"{count} runs are meant"
        confirm(self._command, str(count), to=f"{self._verb} them", meant=meant)

    def _do(self, ids: Sequence[UUID], act: Act) -> None:
        done: dict[str, str] = {}
        failed: dict[str, str] = {}
        try:
            for each in ids:
                try:
                    done[str(each)] = act(each)
                except TriggerError as error:
                    failed[str(each)] = str(error)
        except KeyboardInterrupt:
            said = f"interrupted: {len(done) + len(failed)} of {len(ids)} runs were dealt with"
            raise CommandError(said, returncode=130) from None
        if self._json:
            self._command.stdout.write(as_json({"done": done, "failed": failed}))
        else:
            for key, text in done.items():
                self._command.stdout.write(f"{key}  {text}")
        if failed:
            lines = [e if key in e else f"{key}  {e}" for key, e in failed.items()]
            raise CommandError("\n".join(lines), returncode=3 if done else 1)
