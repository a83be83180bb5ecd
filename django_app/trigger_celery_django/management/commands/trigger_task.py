"""``manage.py trigger_task``: starts a run of a durable task, and may wait for its end."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from trigger_celery import Debounce, RunHandle, TriggerOptions
from trigger_celery.client.handles import error_of, wait_for_end
from trigger_celery.client.runs import stored_run
from trigger_celery.client.starting import task_named
from trigger_celery.errors import DecodeError, TriggerError
from trigger_celery.values.failures import from_text
from trigger_celery.values.strict import parse
from trigger_celery.vocabulary.records import Run
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management.command import DurableCommand
from trigger_celery_django.management.output import length, number
from trigger_celery_django.printable import visible, visible_json

SCHEMA = 1
"""Grows when a key of the JSON output changes its meaning."""
FAILED = 3
"""The exit code when the run was started and did not succeed."""
LATE = 4
"""The exit code when the run goes on after the timeout, or out of sight."""
INTERRUPTED = 130

OPTIONS: dict[str, dict[str, Any]] = {
    "--delay": {"type": length, "metavar": "LONG", "help": "start it so long from now"},
    "--ttl": {"type": length, "metavar": "LONG", "help": "expire if not started in time"},
    "--idempotency-key": {"metavar": "KEY", "help": "a second call gives the run of the first"},
    "--idempotency-ttl": {"type": length, "metavar": "LONG", "help": "how long (30 days)"},
    "--debounce-key": {"metavar": "KEY", "help": "push the waiting run with this key back"},
    "--debounce-delay": {"type": length, "metavar": "LONG", "help": "by so much"},
    "--debounce-mode": {"choices": ["leading", "trailing"], "help": "whose input it keeps"},
    "--debounce-max-delay": {"type": length, "metavar": "LONG", "help": "but no further"},
    "--tag": {"action": "append", "default": [], "metavar": "TAG", "help": "up to ten"},
    "--metadata": {"metavar": "JSON", "help": "a JSON object of your own"},
    "--priority": {"type": number, "help": "seconds of head start in line"},
    "--max-attempts": {"type": number, "help": "in place of the task's policy"},
    "--max-duration": {"type": length, "metavar": "LONG", "help": "time out after it"},
    "--concurrency-key": {"metavar": "KEY", "help": "limits per key count it"},
    "--queue": {"metavar": "NAME", "help": "the durable queue it is in"},
}


class Command(DurableCommand):
    """Starts a run by the name of its task."""

    help = (
        "Start a run of the durable task NAME and print its id. Exit codes: 0 done; 1 refused, "
        "nothing was started; 2 wrong usage; with --wait also 3 it did not succeed, 4 it is "
        "still under way after --timeout or the database is away, 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("name", metavar="NAME", help="the name of the task")
        for name, empty, kind in (("args", "[]", "list"), ("kwargs", "{}", "object")):
            # Under another name: Django calls the options that itself was given "args".
            parser.add_argument(
                f"--{name}", dest=f"task_{name}", default=empty, metavar="JSON", help=f"a {kind}"
            )
        parser.add_argument("--wait", action="store_true", help="wait for the end of the run")
        parser.add_argument("--timeout", type=length, metavar="LONG", help="such as 30s or 2h")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        for name, options in OPTIONS.items():
            parser.add_argument(name, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run."""
        if options["timeout"] is not None and not options["wait"]:
            raise CommandError("--timeout is how long --wait waits: give both")
        positional = _parsed("--args", options["task_args"], list, "list")
        keywords = _parsed("--kwargs", options["task_kwargs"], dict, "object")
        try:
            task = task_named(options["name"], _trigger_options(options))
            handle = task.trigger(*positional, **keywords)
        except (TriggerError, TypeError) as error:
            raise CommandError(str(error)) from error
        try:
            if options["wait"]:
                self._wait(handle, options["timeout"], as_json=options["json"])
            elif options["json"]:
                self._print(handle, stored_run(handle.id))
            else:
                self.stdout.write(str(handle.id))
        except TriggerError as error:  # the run is there: "refused" would be wrong
            raise CommandError(f"run {handle.id} goes on: {error}", returncode=LATE) from error

    def _wait(self, handle: RunHandle[Any], limit: timedelta | None, *, as_json: bool) -> None:
        """Print what the run returned; leave with an exit code if it did not succeed."""
        self.stderr.write(f"waiting for the end of run {handle.id}")
        try:
            run = wait_for_end(handle.id, limit)
        except KeyboardInterrupt:
            self.stderr.write(f"interrupted; run {handle.id} goes on")
            sys.exit(INTERRUPTED)
        if as_json:
            self._print(handle, run)
        elif run.output is not None:
            self.stdout.write(visible_json(run.output))
        if run.state is not RunState.COMPLETED:
            self.stderr.write(f"run {run.id} is {run.state}: {visible(str(error_of(run)))}")
            sys.exit(FAILED)

    def _print(self, handle: RunHandle[Any], run: Run) -> None:
        """Print the run as one JSON object; a result is shown as it is stored."""
        shown: dict[str, Any] = {
            "schema": SCHEMA,
            "id": str(run.id),
            "task": run.task,
            "created": handle.created,
            "state": run.state.value,
        }
        if run.output is not None:
            shown["result"] = json.loads(run.output)
        if run.error is not None:
            failure = from_text(run.error)
            shown["error"] = {"kind": failure.kind, "message": failure.message}
        self.stdout.write(json.dumps(shown))


def _parsed(option: str, text: str, kind: type, called: str) -> Any:
    try:
        value = parse(text.encode("utf-8", "surrogateescape"))
    except DecodeError as error:
        raise CommandError(f"{option}: {error}") from error
    if not isinstance(value, kind):
        raise CommandError(f"expected {option} to be a JSON {called}, got: {text[:80]}")
    return value


def _trigger_options(options: dict[str, Any]) -> TriggerOptions:
    metadata = options["metadata"]
    return TriggerOptions(
        delay=options["delay"],
        ttl=options["ttl"],
        idempotency_key=options["idempotency_key"],
        idempotency_ttl=options["idempotency_ttl"],
        debounce=_debounce(options),
        tags=options["tag"],
        metadata=None if metadata is None else _parsed("--metadata", metadata, dict, "object"),
        priority=options["priority"],
        max_attempts=options["max_attempts"],
        max_duration=options["max_duration"],
        concurrency_key=options["concurrency_key"],
        queue=options["queue"],
    )


def _debounce(options: dict[str, Any]) -> Debounce | None:
    key, delay = options["debounce_key"], options["debounce_delay"]
    if key is None and delay is None:
        for name in ("debounce_mode", "debounce_max_delay"):
            if options[name] is not None:
                raise CommandError(f"--{name.replace('_', '-')} needs --debounce-key")
        return None
    if key is None or delay is None:
        raise CommandError("--debounce-key and --debounce-delay belong together: give both")
    return Debounce(
        key=key,
        delay=delay,
        mode=options["debounce_mode"] or "leading",
        max_delay=options["debounce_max_delay"],
    )
