"""``manage.py trigger_schedules``: what is scheduled, and what a person may do about it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from trigger_celery.client import schedules
from trigger_celery.client.schedules import UPCOMING_LIMIT, ScheduleInfo
from trigger_celery.errors import TriggerError
from trigger_celery_django.management.command import DurableCommand, add_verbs
from trigger_celery_django.management.output import as_json, cell, count, iso_time, quoted, table

COLUMNS = ("key", "task", "rule", "overlap", "state", "last", "next")


class Command(DurableCommand):
    """Lists, pauses, resumes, runs and backfills schedules."""

    help = "List, pause and resume schedules, run one now, or make up for what one missed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the verbs."""
        verbs = add_verbs(parser)
        listing = verbs.add_parser("list", help="show all schedules and their next times")
        listing.add_argument(
            "--next",
            type=partial(count, most=UPCOMING_LIMIT),
            default=1,
            metavar="N",
            help="so many times each",
        )
        pausing = verbs.add_parser("pause", help="let schedules start nothing until resumed")
        resuming = verbs.add_parser("resume", help="let them go on with their next time from now")
        running = verbs.add_parser("run", help="start a run of each now")
        for each in (pausing, resuming, running):
            each.add_argument("keys", nargs="+", metavar="KEY")
        filling = verbs.add_parser("backfill", help="start a run for each nominal time of the past")
        filling.add_argument("key", metavar="KEY")
        filling.add_argument("--from", dest="start", required=True, help="first time, ISO 8601")
        filling.add_argument("--to", dest="end", required=True, help="time after the last one")
        filling.add_argument("--dry-run", action="store_true", help="only show the times")
        for each in (listing, pausing, resuming, running, filling):
            each.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; exit with 3 if it failed for some of several schedules."""
        if options["verb"] == "list":
            self._list(options)
        elif options["verb"] == "backfill":
            self._backfill(options)
        else:
            self._each(options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = [_described(each) for each in schedules.list_schedules(upcoming=options["next"])]
        if options["json"]:
            self.stdout.write(as_json({"schedules": rows}))
            return
        if not rows:
            self.stdout.write("no schedules")
            return
        for line in table(COLUMNS, rows):
            self.stdout.write(line)

    def _each(self, options: dict[str, Any]) -> None:
        verb = VERBS[options["verb"]]
        done, failed = {}, {}
        for key in options["keys"]:
            try:
                done[key] = verb(key)
            except TriggerError as error:
                failed[key] = str(error)
        if options["json"]:
            self.stdout.write(as_json({"done": done, "failed": failed}))
        else:
            for key, text in done.items():
                self.stdout.write(f"{cell(key)}: {text}")
        if failed:
            raise CommandError(
                "\n".join(f"{key}: {error}" for key, error in failed.items()),
                returncode=3 if done else 1,
            )

    def _backfill(self, options: dict[str, Any]) -> None:
        key, dry_run = options["key"], options["dry_run"]
        try:
            local = schedules.schedule_zone(key)
            start, end = (_moment(options[name], local) for name in ("start", "end"))
            found = schedules.backfill(key, start, end, dry_run=dry_run)
        except TriggerError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            times = [each.astimezone(UTC).isoformat() for each in found]
            self.stdout.write(as_json({"key": key, "dry_run": dry_run, "times": times}))
            return
        for each in found:
            self.stdout.write(each.astimezone(local).isoformat())
        text = "would be started" if dry_run else "started"
        self.stderr.write(f"{len(found)} runs of {key} {text}")


def _pause(key: str) -> str:
    return "paused" if schedules.pause_schedule(key) else "was paused already"


def _resume(key: str) -> str:
    return "resumed" if schedules.resume_schedule(key) else "was not paused"


def _run(key: str) -> str:
    return str(schedules.run_schedule(key))


VERBS: dict[str, Callable[[str], str]] = {"pause": _pause, "resume": _resume, "run": _run}


def _described(schedule: ScheduleInfo) -> dict[str, Any]:
    """Return what is shown of a schedule; times in JSON's form, in UTC."""
    return {
        "key": schedule.key,
        "task": schedule.task,
        "rule": schedule.rule,
        "overlap": schedule.overlap,
        "declared": schedule.declared,
        "state": schedule.state,
        "last": None if schedule.last_at is None else schedule.last_at.astimezone(UTC).isoformat(),
        "next": [each.astimezone(UTC).isoformat() for each in schedule.upcoming],
    }


def _moment(text: str, local: Any) -> datetime:
    """Return the time that a person wrote, in the schedule's zone unless it names another."""
    try:
        return iso_time(text, local)
    except ValueError:
        raise CommandError(
            f"expected an ISO 8601 time such as 2026-03-01T09:00, got: {quoted(text)}", returncode=2
        ) from None
