"""``manage.py trigger_queues``: how full durable queues are, and what a person may change."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client import queues
from trigger_celery.client.queues import LIMITS, UNCHANGED
from trigger_celery.errors import InvalidOption, TriggerError
from trigger_celery.vocabulary.records import EVERYTHING
from trigger_celery_django.management import queue_rows
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.confirmation import confirm, user
from trigger_celery_django.management.filters import run_id
from trigger_celery_django.management.output import (
    add_format,
    as_json,
    cell,
    count,
    plain,
    rows_as,
)

Act = Callable[[str], str]
WRONG_OPTIONS = 2
"""The exit code, as that of options which the parser refuses."""


class Command(DurableCommand):
    """Lists, pauses, resumes and limits durable queues; shows the holders of slots."""

    help = (
        "List, pause, resume and limit durable queues; show what holds their slots, release one. "
        "'*' is the whole deployment, task/NAME are the runs of a task."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        add = partial(_verb, verbs)
        add_format(add("list", "show all queues, their limits and how full they are"))
        _json(_named(add("show", "show all that is known of a queue")))
        pausing = add("pause", "start no runs of queues until they are resumed")
        resuming = add("resume", "let paused queues go on")
        for each in (pausing, resuming):
            each.add_argument("names", nargs="*", metavar="NAME")
            each.add_argument("--all", action="store_true", help="the whole deployment")
        limiting = _named(add("limit", "put limits in the place of those that code declares"))
        _add_limits(limiting)
        resetting = add("reset", "let the limits of the code hold again")
        resetting.add_argument("names", nargs="+", metavar="NAME")
        holding = _named(add("holders", "show the runs that hold slots, the longest first"))
        holding.add_argument("--limit", type=count, default=100, metavar="N", help="default: 100")
        add_format(holding)
        releasing = add("release", "take its slot from a run, as if its worker had died")
        releasing.add_argument("run", metavar="RUN_ID")
        for each, kept in (
            (pausing, "kept with the pause"),
            (resuming, "sent to receivers of the signal"),
            (releasing, "kept in the run's history"),
        ):
            each.add_argument("--reason", default="", help=kept)
            each.add_argument("--by", default="", help="name of the person (default: the user)")
        for each in (pausing, resuming, limiting, resetting, releasing):
            each.add_argument("--dry-run", action="store_true", help="only show what would be done")
            _json(each)
        for each in (pausing, releasing):
            each.add_argument(
                "--yes", "--noinput", dest="yes", action="store_true", help="do not ask"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; exit with 3 if it failed for some of several queues, with 1 if for all."""
        verb = getattr(self, f"_{options['verb']}")
        try:
            verb(options)
        except TriggerError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        found = queues.list_queues()
        if not found:
            self.stderr.write("no queues")
        show = queue_rows.row if options["format"] == "table" else queue_rows.data
        rows = [show(queue) for queue in found]
        for line in rows_as(options["format"], "queues", rows, queue_rows.COLUMNS, id_key="name"):
            self.stdout.write(line)

    def _show(self, options: dict[str, Any]) -> None:
        queue = queues.get_queue(options["name"])
        if options["json"]:
            data = {name: plain(value) for name, value in queue_rows.data(queue).items()}
            self.stdout.write(as_json({"queue": data}))
            return
        shown = {**queue_rows.row(queue), "paused_at": queue.paused_at}
        for name, value in shown.items():
            if value not in (None, ""):
                self.stdout.write(f"{name.replace('_', ' '):<16} {cell(value)}")

    def _holders(self, options: dict[str, Any]) -> None:
        found = queues.queue_holders(options["name"], limit=options["limit"])
        if not found:
            self.stderr.write("no run holds a slot")
        rows = [queue_rows.holder(each) for each in found]
        for line in rows_as(options["format"], "holders", rows, queue_rows.HOLDER_COLUMNS):
            self.stdout.write(line)

    def _pause(self, options: dict[str, Any]) -> None:
        names = _chosen(options)
        if EVERYTHING in names and not options["dry_run"] and not options["yes"]:
            meant = "no run of the whole deployment is to be started"
            confirm(self, "everything", to="pause it", meant=meant)
        asked = _asked(options)

        def act(name: str) -> str:
            new = queues.pause_queue(name, **asked)
            return "paused" if new else "was paused already"

        self._each(names, act, options)

    def _resume(self, options: dict[str, Any]) -> None:
        asked = _asked(options)

        def act(name: str) -> str:
            was = queues.resume_queue(name, **asked)
            return "resumed" if was else "was not paused"

        self._each(_chosen(options), act, options)

    def _limit(self, options: dict[str, Any]) -> None:
        given = {name: options[name] for name in LIMITS}
        try:
            queues.checked_limits(options["name"], given)
        except InvalidOption as error:
            raise CommandError(str(error), returncode=WRONG_OPTIONS) from error

        def act(name: str) -> str:
            changed = queues.limit_queue(name, **given)
            queue = queues.get_queue(name)
            text = f"{queue_rows.limits_of(queue)}{'' if changed else ', as before'}"
            return f"{text}; {queue_rows.state(queue)}" if queue.stopped else text

        self._each([options["name"]], act, options)

    def _reset(self, options: dict[str, Any]) -> None:
        def act(name: str) -> str:
            changed = queues.reset_queue(name)
            text = queue_rows.limits_of(queues.get_queue(name))
            return text if changed else f"{text}, as before"

        self._each(options["names"], act, options)

    def _release(self, options: dict[str, Any]) -> None:
        run = queues.slot_holder(run_id(options["run"]))
        self.stderr.write(f"run {run.id} of task {cell(run.task)} is executed by {run.worker}")
        text = "would release"
        if not options["dry_run"]:
            if not options["yes"]:
                confirm(self, "release", to="take its slot", meant="its worker has died")
            queues.release_slot(run.id, **_asked(options))
            text = "released"
        self._report({str(run.id): text}, {}, options)

    def _each(self, names: Sequence[str], act: Act, options: dict[str, Any]) -> None:
        done: dict[str, str] = {}
        failed: dict[str, str] = {}
        for name in names:
            try:
                queues.check_queue(name)
                done[name] = f"would {options['verb']}" if options["dry_run"] else act(name)
            except TriggerError as error:
                failed[name] = str(error)
        self._report(done, failed, options)

    def _report(
        self, done: dict[str, str], failed: dict[str, str], options: dict[str, Any]
    ) -> None:
        if options["json"]:
            data = {"dry_run": options["dry_run"], "done": done, "failed": failed}
            self.stdout.write(as_json(data))
        else:
            for name, text in done.items():
                self.stdout.write(f"{cell(name)}: {cell(text)}")
        if failed:
            raise CommandError("\n".join(failed.values()), returncode=3 if done else 1)


def _verb(verbs: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    return parser


def _named(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("name", metavar="NAME")
    return parser


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_limits(parser: ArgumentParser) -> None:
    add = partial(parser.add_argument, default=UNCHANGED)  # None says: no limit
    add(
        "concurrency_limit",
        nargs="?",
        type=queue_rows.whole,
        metavar="N",
        help="so many runs at a time; 0 starts nothing, 'none' is no limit, as in all of these",
    )
    add("--key-limit", type=queue_rows.whole, metavar="N", help="of each concurrency key")
    text = "starts of runs, as in 100/60s or 100/60s,burst=20"
    add("--rate", dest="rate_limit", type=queue_rows.rate, metavar="RATE", help=text)
    add(
        "--key-rate",
        dest="key_rate_limit",
        type=queue_rows.rate,
        metavar="RATE",
        help="of each concurrency key",
    )


def _chosen(options: dict[str, Any]) -> Sequence[str]:
    names: Sequence[str] = options["names"]
    if bool(names) == options["all"]:
        text = f"name the queues to {options['verb']}, or --all, not both"
        raise CommandError(text, returncode=WRONG_OPTIONS)
    return names or [EVERYTHING]


def _asked(options: dict[str, Any]) -> dict[str, str]:
    return {"by": options["by"] or user(), "reason": options["reason"]}
