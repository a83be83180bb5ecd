"""Which runs a command is about: by their ids, or by what they have in common."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError
from django.db import router

from trigger_celery.client.runs import as_run_id
from trigger_celery.errors import RunNotFound
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django.management.output import length
from trigger_celery_django.models import DeadLetter, Run, RunTag
from trigger_celery_django.querysets import RunQuerySet
from trigger_celery_django.store.common.times import DatabaseNow

FILTERS = ("state", "task", "tag", "since", "dead_letters")


def add_filters(parser: ArgumentParser) -> None:
    """Declare the options that choose runs."""
    parser.add_argument(
        "--state", action="append", choices=[str(state) for state in RunState], help="repeatable"
    )
    parser.add_argument("--task", help="name of the task")
    parser.add_argument("--tag", action="append", help="repeatable: runs that have all of them")
    parser.add_argument(
        "--since", type=length, metavar="AGO", help="created in the last so long: 2d, 3h, 30m"
    )
    parser.add_argument(
        "--dead-letters", action="store_true", help="failed for good and waiting for a person"
    )


def alias() -> str:
    """Return the database that runs are kept in."""
    return router.db_for_write(Run)


def has_filter(options: Mapping[str, Any]) -> bool:
    """Whether any option narrows down which runs are meant."""
    return any(options[name] for name in FILTERS)


def chosen(options: Mapping[str, Any]) -> RunQuerySet[Run]:
    """Return the runs that the options are about, newest first."""
    using = alias()
    runs = Run.objects.using(using).order_by("-created_at", "-pk")
    if options.get("ids"):
        return runs.filter(pk__in=[run_id(text) for text in options["ids"]])
    if options["state"]:
        runs = runs.filter(state__in=options["state"])
    if options["task"]:
        runs = runs.filter(task=options["task"])
    for tag in options["tag"] or ():
        runs = runs.filter(pk__in=RunTag.objects.using(using).filter(tag=tag).values("run"))
    if options["since"]:
        runs = runs.filter(created_at__gte=DatabaseNow() - options["since"])
    if options["dead_letters"]:
        runs = runs.filter(pk__in=DeadLetter.objects.using(using).open().values("run"))
    return runs


def run_id(text: str) -> Any:
    """Return the id that somebody typed. Raises ``CommandError`` if it is none."""
    try:
        return as_run_id(text)
    except RunNotFound as error:
        raise CommandError(str(error)) from None
