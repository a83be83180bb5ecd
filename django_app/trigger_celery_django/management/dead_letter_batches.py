"""One verb for many dead letters: shows the plan, asks, keeps a rate, and reports what became."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from trigger_celery.client.dead_letters import get_dead_letter, list_dead_letters
from trigger_celery.client.runs import PAGE
from trigger_celery.errors import TriggerError
from trigger_celery_django.management.confirmation import confirm
from trigger_celery_django.management.dead_letter_rows import (
    add_filters,
    each,
    filters_of,
    has_filter,
    rate,
)
from trigger_celery_django.management.filters import run_id
from trigger_celery_django.management.output import as_json, count

ASKED_FROM = 20
"""More than so many dead letters that filters found are retried only after a question."""
SHOWN = 10
"""So many failures are named one by one."""

Act = Callable[[UUID], str]


def add_batch(parser: ArgumentParser) -> None:
    """Declare which dead letters are meant, and how to go about them."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="of runs; - reads them from stdin")
    add_filters(parser)
    parser.add_argument("--all", action="store_true", help="every open dead letter")
    parser.add_argument(
        "--quarantined", action="store_true", help="also those that came back too often"
    )
    parser.add_argument("--limit", type=count, metavar="N", help="the last seen N at most")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--noinput", "--yes", dest="noinput", action="store_true")
    parser.add_argument("--rate", type=rate, metavar="20/s", help="so many in a second at most")
    parser.add_argument(
        "--batch-size", type=count, default=100, metavar="N", help="read so many at a time: 100"
    )
    parser.add_argument("--reason", default="", help="kept with the dead letter and in history")
    parser.add_argument("--by", default="", help="name of the person")


class Batch:
    """Does one verb to the dead letters that the options choose, with a page of them in memory."""

    def __init__(self, command: BaseCommand, verb: str, options: Mapping[str, Any]) -> None:
        if bool(options["ids"]) == (has_filter(options) or options["all"]):
            raise CommandError(
                f"name the dead letters to {verb} by the ids of their runs, or choose them with "
                "filters or --all, not both"
            )
        self._command = command
        self._verb = verb
        self._options = options
        self._failed: dict[str, str] = {}

    def run(self, act: Act, *, plan: Act, unasked: int = 0) -> list[UUID]:
        """Do it to each and return those; ``plan`` says what would be done to one.

        Exits with 3 if it failed for some of several, with 1 if for all, with 130 if interrupted.
        """
        options = self._options
        chosen, known = self._named() if options["ids"] else self._found()
        if options["dry_run"]:
            self._show({str(run_id): plan(run_id) for run_id in chosen})
            return []
        if not options["ids"] and known > unasked and not options["noinput"]:
            meant = f"{known:,}{'' if known < PAGE else ' or more'} dead letters are meant"
            confirm(self._command, str(known), to=f"{self._verb} them", meant=meant)
        done = self._do(chosen, act)
        self._report(done)
        return done

    def _named(self) -> tuple[Iterable[UUID], int]:
        texts: list[str] = []
        for text in self._options["ids"]:
            texts += sys.stdin.read().split() if text == "-" else [text]
        found = dict.fromkeys(get_dead_letter(run_id(text)).run_id for text in texts)
        return list(found), len(found)

    def _found(self) -> tuple[Iterable[UUID], int]:
        """Return the open ones, read as they are needed, and how many there are up to a page."""
        options = self._options
        filters = filters_of(options, state="open")
        if not options["quarantined"]:
            filters["quarantined"] = False
        size = PAGE if options["limit"] is None else min(PAGE, options["limit"])
        known = len(list_dead_letters(limit=size, **filters).dead_letters)
        more = " or more" if known == PAGE else ""
        self._command.stderr.write(f"dead letters to {self._verb}: {known:,}{more}")
        # What fails again meanwhile is seen later than all of these, and so not met again.
        page = min(PAGE, options["batch_size"])
        found = each(filters, limit=options["limit"], page=page)
        return (dead_letter.run_id for dead_letter in found), known

    def _show(self, plans: Mapping[str, str]) -> None:
        if self._options["format"] == "json":
            self._command.stdout.write(as_json({"dry_run": True, "dead_letters": dict(plans)}))
            return
        for key, text in plans.items():
            ids_only = self._options["format"] == "ids"
            self._command.stdout.write(key if ids_only else f"{key}  {text}")

    def _do(self, chosen: Iterable[UUID], act: Act) -> list[UUID]:
        done: list[UUID] = []
        rate, began = self._options["rate"], time.monotonic()
        try:
            for number, run_id in enumerate(chosen):
                if rate:
                    time.sleep(max(0.0, began + number / rate - time.monotonic()))
                self._try(act, run_id, done)
        except KeyboardInterrupt:
            said = f"interrupted: {len(done)} done, {len(self._failed)} failed"
            raise CommandError(said, returncode=130) from None
        return done

    def _try(self, act: Act, run_id: UUID, done: list[UUID]) -> None:
        try:
            said = act(run_id)
        except (TriggerError, TypeError) as error:  # an input that the task does not take
            self._failed[str(run_id)] = str(error)
            return
        done.append(run_id)
        if self._options["format"] == "ids":
            self._command.stdout.write(str(run_id))
        elif self._options["format"] != "json":
            self._command.stdout.write(f"{run_id}  {said}")

    def _report(self, done: list[UUID]) -> None:
        if self._options["format"] == "json":
            shown = {"done": [str(each_id) for each_id in done], "failed": self._failed}
            self._command.stdout.write(as_json(shown))
        if self._failed:
            lines = [e if key in e else f"{key}  {e}" for key, e in self._failed.items()]
            hidden = len(lines) - SHOWN
            lines[SHOWN:] = [f"... and {hidden:,} more"] if hidden > 0 else []
            raise CommandError("\n".join(lines), returncode=3 if done else 1)
