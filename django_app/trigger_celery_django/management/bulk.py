"""One verb for many runs: shows the plan, asks, and reports what became of each."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from trigger_celery.client.runs import RunSummary, stored_run
from trigger_celery.errors import RunNotFound, TriggerError
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management.confirmation import confirm
from trigger_celery_django.management.filters import (
    add_filters,
    has_filter,
    newest,
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
            ids = self._named()
        else:
            chosen = [str(state) for state in states if str(state) in (options["state"] or states)]
            runs = newest({**options, "state": chosen}, limit=options["limit"]) if chosen else []
            ids = [run.id for run in runs]
            self._plan(runs)
        if options["dry_run"]:
            self._show_plan(ids)
            return
        if not options["ids"] and len(ids) > unasked and not options["yes"]:
            self._confirm(len(ids))
        self._do(ids, act)

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

    def _plan(self, runs: Sequence[RunSummary]) -> None:
        """Show how many runs are meant, of which tasks and of what time."""
        say = self._command.stderr.write
        why = "" if runs else unknown_task(self._options)
        say(f"runs to {self._verb}: {len(runs)}{why and f'; {why}'}")
        for task in sorted({run.task for run in runs}):
            times = sorted(run.created_at for run in runs if run.task == task)
            first, last = cell(times[0]), cell(times[-1])
            say(f"  {cell(task)}: {len(times)}, created {first} to {last} UTC")

    def _show_plan(self, ids: Sequence[UUID]) -> None:
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
            for key, text in done.items():
                self._command.stdout.write(f"{key}  {text}")
        if failed:
            lines = [e if key in e else f"{key}  {e}" for key, e in failed.items()]
            raise CommandError("\n".join(lines), returncode=3 if done else 1)
