"""One verb for many runs: says first what it would do, asks, and tells what became of each."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Max, Min

from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management.confirmation import confirm
from trigger_celery_django.management.filters import add_filters, chosen, has_filter
from trigger_celery_django.management.output import as_json, cell, count
from trigger_celery_django.models import Run
from trigger_celery_django.querysets import RunQuerySet

UNASKED = 20
"""So many runs are retried without a question."""

Act = Callable[[UUID], str]


def add_bulk(parser: ArgumentParser) -> None:
    """Declare which runs are meant, and how to be asked."""
    parser.add_argument("ids", nargs="*", metavar="ID")
    add_filters(parser)
    parser.add_argument("--all", action="store_true", help="every run that the verb can be done to")
    parser.add_argument("--limit", type=count, metavar="N", help="the newest N of them at most")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument(
        "--yes", "--noinput", dest="yes", action="store_true", help="do not ask for confirmation"
    )


class Bulk:
    """Does one verb to the runs that the options choose."""

    def __init__(self, command: BaseCommand, verb: str, options: Mapping[str, Any]) -> None:
        self._command = command
        self._verb = verb
        self._options = options
        self._json = options["format"] == "json"

    def run(self, act: Act, *, states: Sequence[RunState], unasked: int = 0) -> None:
        """Do it to each run; filters choose among those in ``states``.

        More than ``unasked`` runs found by filters are confirmed by a person. Exits with 3 if
        it failed for some of several runs, with 1 if for all.
        """
        options = self._options
        if bool(options["ids"]) == (has_filter(options) or options["all"]):
            raise CommandError(
                f"name the runs to {self._verb}, or choose them with filters or --all, not both"
            )
        if options["ids"]:
            ids = [run.pk for run in chosen(options)]
            self._must_exist(ids)
        else:
            runs = chosen(options).filter(state__in=states)
            ids = list(runs.values_list("pk", flat=True)[: options["limit"]])
            self._plan(runs, len(ids))
        if options["dry_run"]:
            self._tell_plan(ids)
            return
        if not options["ids"] and len(ids) > unasked and not options["yes"]:
            self._confirm(len(ids))
        self._do(ids, act)

    def _must_exist(self, ids: Sequence[UUID]) -> None:
        missing = [text for text in self._options["ids"] if UUID(text) not in ids]
        if missing:
            raise CommandError(f"no run has the id {', '.join(missing)}; nothing was done")

    def _plan(self, runs: RunQuerySet[Run], count: int) -> None:
        """Tell a person how many runs are meant, of which tasks and of what time."""
        say = self._command.stderr.write
        say(f"runs to {self._verb}: {count}")
        groups = runs.order_by("task").values_list("task")
        for task, number, oldest, newest in groups.annotate(
            Count("pk"), Min("created_at"), Max("created_at")
        ):
            say(f"  {cell(task)}: {number}, created {cell(oldest)} to {cell(newest)} UTC")

    def _tell_plan(self, ids: Sequence[UUID]) -> None:
        if self._json:
            self._command.stdout.write(as_json({"dry_run": True, "runs": [str(i) for i in ids]}))
            return
        for each in ids:
            self._command.stdout.write(f"{each}  would {self._verb}")

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
            for key, told in done.items():
                self._command.stdout.write(f"{key}  {told}")
        if failed:
            lines = [e if key in e else f"{key}  {e}" for key, e in failed.items()]
            raise CommandError("\n".join(lines), returncode=3 if done else 1)
