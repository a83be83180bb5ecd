"""Which runs a command is about: by their ids, or by what they have in common."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from django.core.management.base import CommandError

from trigger_celery.client.access import database_time
from trigger_celery.client.runs import (
    PAGE,
    RunFilters,
    RunPage,
    RunSummary,
    as_run_id,
    as_state,
    ids_beginning_with,
    list_runs,
)
from trigger_celery.client.starting import task_named
from trigger_celery.errors import InvalidOption, RunNotFound, UnknownTask
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management.output import length

_AMONG = 3
"""So many ids that begin alike are shown."""
FILTERS = (
    *("state", "task", "tag", "queue", "schedule", "parent", "root", "error"),
    *("since", "dead_letters"),
)


def add_filters(parser: ArgumentParser) -> None:
    """Declare the options that choose runs."""
    parser.add_argument(
        "--state", type=_state, action="append", help=f"repeatable: {', '.join(RunState)}"
    )
    parser.add_argument("--task", help="name of the task")
    parser.add_argument("--tag", action="append", help="repeatable: runs that have all of them")
    parser.add_argument("--queue", help="name of the durable queue")
    parser.add_argument("--schedule", metavar="KEY", help="started by this schedule")
    parser.add_argument("--parent", metavar="ID", help="started by this run")
    parser.add_argument("--root", metavar="ID", help="this run and all that it led to")
    parser.add_argument(
        "--error", metavar="FINGERPRINT", help="ended with a failure like this one: see show"
    )
    parser.add_argument(
        "--since", type=length, metavar="AGO", help="created in the last so long: 2d, 3h, 30m"
    )
    parser.add_argument(
        "--dead-letters", action="store_true", help="failed for good and waiting for a person"
    )


def _state(text: str) -> str:
    try:
        return str(as_state(text))
    except InvalidOption as error:
        raise ArgumentTypeError(str(error)) from None


def has_filter(options: Mapping[str, Any]) -> bool:
    """Whether any option narrows down which runs are meant."""
    return any(options[name] for name in FILTERS)


def page_of(options: Mapping[str, Any], *, cursor: str | None = None, limit: int) -> RunPage:
    """Return some of the runs that the options choose, the newest first."""
    return list_runs(**filters_of(options), cursor=cursor, limit=limit)


def filters_of(options: Mapping[str, Any]) -> RunFilters:
    """Return the filters of verbs that the options choose, without what is not asked."""
    since = options["since"]
    given: dict[str, Any] = {
        "task": options["task"],
        "state": options["state"],
        "tag": options["tag"],
        "queue": options["queue"],
        "schedule": options["schedule"],
        "parent": options["parent"] and run_id(options["parent"]),
        "root": options["root"] and run_id(options["root"]),
        "error": options["error"],
        "since": None if since is None else database_time() - since,
        "dead_letters": options["dead_letters"],
    }
    return cast(RunFilters, {name: value for name, value in given.items() if value})


def newest(options: Mapping[str, Any], *, limit: int | None) -> list[RunSummary]:
    """Return the newest runs that the options choose, so many at most; None means all."""
    found: list[RunSummary] = []
    cursor: str | None = None
    while limit is None or len(found) < limit:
        left = PAGE if limit is None else min(PAGE, limit - len(found))
        page = page_of(options, cursor=cursor, limit=left)
        found += page.runs
        cursor = page.next
        if cursor is None:
            break
    return found


def run_id(text: str) -> UUID:
    """Return the id that a person typed, or the only one that begins so.

    Raises ``CommandError`` if it is none, or the beginning of none or of several.
    """
    try:
        return as_run_id(text)
    except RunNotFound as error:
        digits = text.replace("-", "").lower()
        if not re.fullmatch("[0-9a-f]{4,31}", digits):
            raise CommandError(f"{error}, or its first four digits or more") from None
    found = ids_beginning_with(digits, limit=_AMONG + 1)
    if not found:
        raise CommandError(f"no run has an id that begins with {text}")
    if len(found) > 1:
        more = ", ..." if len(found) > _AMONG else ""
        several = ", ".join(map(str, found[:_AMONG]))
        raise CommandError(f"several runs have ids that begin with {text}: {several}{more}")
    return found[0]


def unknown_task(options: Mapping[str, Any]) -> str:
    """Return why a filter by task finds nothing: no task has its name, and which is closest."""
    if not options["task"]:
        return ""
    try:
        task_named(options["task"])
    except UnknownTask as error:
        return str(error)
    return ""
