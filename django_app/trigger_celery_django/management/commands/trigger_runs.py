"""``manage.py trigger_runs``: what became of runs, and what a person may do about them."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.core.management.color import no_style

from trigger_celery.client import copies, runs
from trigger_celery.client.access import database_time
from trigger_celery.errors import TriggerError
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management import run_rows
from trigger_celery_django.management.bulk import UNASKED, Bulk, add_bulk
from trigger_celery_django.management.command import DurableCommand, Painted, add_verbs
from trigger_celery_django.management.confirmation import add_person
from trigger_celery_django.management.filters import (
    add_filters,
    newest,
    run_id,
    unknown_task,
)
from trigger_celery_django.management.output import (
    add_format,
    as_json,
    cell,
    count,
    json_value,
    length,
    moment,
    plain,
    rows_as,
)
from trigger_celery_django.trace import SpanKind, TraceSpan, as_data, lines, trace_of

DONE = {
    "cancel": ("canceled", "had ended already"),
    "pause": ("paused", "was paused already"),
    "resume": ("resumed", "was not paused"),
}


class Command(DurableCommand):
    """Lists, shows and manages runs."""

    help = "List, show, trace, wait for and manage durable runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        add = partial(_verb, verbs)
        listing = add("list", "show the newest runs")
        add_filters(listing)
        listing.add_argument("--limit", type=count, default=20, metavar="N", help="default: 20")
        showing = add("show", "show all fields of a run", "id")
        showing.add_argument("--full", action="store_true", help="do not shorten its values")
        add("trace", "draw what a run did: its attempts, waits and children", "id")
        waiting = add(
            "wait", "wait until a run has ended: exit 0 completed, 3 not, 4 too late", "id"
        )
        waiting.add_argument("--timeout", type=length, metavar="LONG", help="such as 30s or 2h")
        for verb in ("cancel", "retry", "pause", "resume"):
            add_bulk(_asked(add(verb, f"{verb} runs, by their ids or by filters")))
        _edited(_asked(add("rerun", "start a run like another one", "id")))
        forking = _asked(add("fork", "start a run that goes on at a step of another one", "id"))
        forking.add_argument("step", metavar="STEP", help="key of the first step to run again")
        _edited(forking)
        moving = _asked(add("reschedule", "give a delayed run another start", "id"))
        moving.add_argument("start", type=moment, metavar="WHEN", help="2h, or an ISO 8601 time")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        if os.environ.get("NO_COLOR"):
            self.style = no_style()
        self._json = options["format"] in ("json", "jsonl")
        self._by = {"reason": options.get("reason", ""), "by": options.get("by", "")}
        verb = getattr(self, f"_{options['verb']}")
        try:
            verb(options)
        except TriggerError as error:
            raise CommandError(str(error)) from error
        except TypeError as error:
            if options["verb"] not in ("rerun", "fork"):
                raise
            raise CommandError(str(error)) from error  # arguments that the task does not take

    def _list(self, options: dict[str, Any]) -> None:
        found = newest(options, limit=options["limit"])
        rows = [run_rows.row(run) for run in found]
        if not rows:
            said = unknown_task(options)
            self.stderr.write(f"no runs: {said}" if said else "no runs")
        for line in rows_as(options["format"], "runs", rows, run_rows.COLUMNS):
            self.stdout.write(line)
        live = [run.task for run in found if not RunState(run.state).terminal]
        if unknown := run_rows.undeclared(live):
            self.stderr.write(unknown)

    def _show(self, options: dict[str, Any]) -> None:
        shown = run_rows.details(run_id(options["id"]), full=options["full"])
        if self._json:
            self.stdout.write(as_json({"run": {k: plain(v) for k, v in shown.items()}}))
            return
        for name, value in shown.items():
            if value not in (None, "", []):
                self.stdout.write(f"{name.replace('_', ' '):<16} {cell(value)}")

    def _trace(self, options: dict[str, Any]) -> None:
        trace = trace_of(_found(options).id)
        assert trace is not None, "it was there a moment ago, and runs are not deleted"
        if self._json:
            self.stdout.write(as_json({"trace": as_data(trace)}))
            return
        encoding = getattr(self.stdout, "encoding", None) or "ascii"
        unicode = encoding.lower().replace("-", "").startswith("utf")
        for line in lines(trace, now=database_time(), paint=self._paint, unicode=unicode):
            self.stdout.write(Painted(line))

    def _paint(self, span: TraceSpan, text: str) -> str:
        bad = span.state in ("failed", "timed_out", "timeout", "canceled", "expired")
        if bad or span.kind in (SpanKind.FAILED, SpanKind.CRASH):
            return str(self.style.ERROR(text))
        return str(self.style.SUCCESS(text)) if span.state == "completed" else text

    def _wait(self, options: dict[str, Any]) -> None:
        timeout, began, pause = options["timeout"], time.monotonic(), 0.05
        run = _found(options)
        try:
            while not run.state.terminal:
                left = timeout and timeout.total_seconds() - (time.monotonic() - began)
                if left is not None and left <= 0:
                    raise CommandError(f"run {run.id} is still {run.state}", returncode=4)
                pause = min(1.0, pause * 1.5)
                time.sleep(pause if left is None else min(pause, left))
                run = runs.stored_run(run.id)
        except KeyboardInterrupt:
            raise CommandError(f"run {run.id} is {run.state}", returncode=130) from None
        self._show({**options, "full": False})
        if run.state is not RunState.COMPLETED:
            raise CommandError(f"run {run.id} ended as {run.state}", returncode=3)

    def _cancel(self, options: dict[str, Any]) -> None:
        verb = partial(runs.cancel_run, **self._by)
        act = partial(_done, verb, DONE["cancel"])
        Bulk(self, "cancel", options).run(act)

    def _retry(self, options: dict[str, Any]) -> None:
        def act(run_id: UUID) -> str:
            runs.retry_run(run_id, **self._by)
            return "queued again"

        Bulk(self, "retry", options).run(act, unasked=UNASKED)

    def _pause(self, options: dict[str, Any]) -> None:
        self._each(partial(runs.pause_run, **self._by), options)

    def _resume(self, options: dict[str, Any]) -> None:
        self._each(partial(runs.resume_run, **self._by), options)

    def _each(self, verb: Any, options: dict[str, Any]) -> None:
        act = partial(_done, verb, DONE[options["verb"]])
        Bulk(self, options["verb"], options).run(act)

    def _rerun(self, options: dict[str, Any]) -> None:
        old = run_id(options["id"])
        self._started(copies.rerun(old, **_edits(options), **self._by))

    def _fork(self, options: dict[str, Any]) -> None:
        old, step = run_id(options["id"]), options["step"]
        self._started(copies.fork_run(old, step=step, **_edits(options), **self._by))

    def _started(self, new: UUID) -> None:
        self.stdout.write(as_json({"id": str(new)}) if self._json else str(new))

    def _reschedule(self, options: dict[str, Any]) -> None:
        moved = run_id(options["id"])
        runs.reschedule_run(moved, delay=options["start"], **self._by)
        start = runs.stored_run(moved).available_at
        answer = {"id": str(moved), "available_at": plain(start)}
        self.stdout.write(as_json(answer) if self._json else f"{moved}  starts {start.isoformat()}")


def _verb(verbs: Any, name: str, text: str, *positional: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    for each in positional:
        parser.add_argument(each, metavar=each.upper())
    add_format(parser)
    return parser


def _asked(parser: ArgumentParser) -> ArgumentParser:
    add_person(parser)
    return parser


def _edited(parser: ArgumentParser) -> None:
    # Not under their own names: Django takes "args" out of the options.
    of_list, of_dict = partial(json_value, kind=list), partial(json_value, kind=dict)
    parser.add_argument("--args", dest="new_args", type=of_list, metavar="JSON")
    parser.add_argument("--kwargs", dest="new_kwargs", type=of_dict, metavar="JSON")


def _edits(options: dict[str, Any]) -> dict[str, Any]:
    return {"args": options["new_args"], "kwargs": options["new_kwargs"]}


def _found(options: dict[str, Any]) -> Any:
    return runs.stored_run(run_id(options["id"]))


def _done(verb: Any, said: tuple[str, str], run_id: UUID) -> str:
    return said[0] if verb(run_id) else said[1]
