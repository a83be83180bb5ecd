"""Reads the rows of a tree of runs: a handful of queries a level, never their values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count

from trigger_celery_django.models import Checkpoint, FailedAttempt, History, Run, Wait
from trigger_celery_django.models.querysets import RunQuerySet

RUNS_LIMIT = 200
"""So many runs of a tree are shown; a fan-out may have thousands."""


@dataclass(slots=True)
class Rows:
    """What is stored of one run, oldest first, and the rows of its children."""

    run: Run
    history: list[History] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    failures: list[FailedAttempt] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    children: list[Rows] = field(default_factory=list)
    more: int = 0


def read(alias: str, run_id: UUID) -> Rows | None:
    """Return the rows of a run and of its descendants, at most ``RUNS_LIMIT`` runs of them."""
    run = _runs(alias).filter(pk=run_id).first()
    if run is None:
        return None
    top = Rows(run=run)
    level, left = [top], RUNS_LIMIT - 1
    while level:
        _fill(alias, level)
        level = _children(alias, level, left)
        left -= len(level)
    return top


def _runs(alias: str) -> RunQuerySet[Run]:
    return Run.objects.using(alias).defer("input", "output", "canvas", "metadata")


def _children(alias: str, parents: Sequence[Rows], left: int) -> list[Rows]:
    by_id = {rows.run.pk: rows for rows in parents}
    found = []
    children = _runs(alias).filter(parent__in=by_id)
    for run in children.order_by("created_at", "pk")[:left]:
        rows = Rows(run=run)
        assert run.parent_id is not None, "it was found by its parent"
        by_id[run.parent_id].children.append(rows)
        found.append(rows)
    if len(found) == left:  # then there may be more than are shown
        counts = children.order_by().values_list("parent").annotate(Count("pk"))
        for parent_id, count in counts:
            by_id[parent_id].more = count - len(by_id[parent_id].children)
    return found


def _fill(alias: str, level: Sequence[Rows]) -> None:
    ids = [rows.run.pk for rows in level]
    history: dict[UUID, list[History]] = defaultdict(list)
    for entry in History.objects.using(alias).filter(run__in=ids).order_by("sequence"):
        history[entry.run_id].append(entry)
    checkpoints: dict[UUID, list[Checkpoint]] = defaultdict(list)
    for step in Checkpoint.objects.using(alias).filter(run__in=ids).defer("value").order_by("pk"):
        checkpoints[step.run_id].append(step)
    failures: dict[UUID, list[FailedAttempt]] = defaultdict(list)
    for failure in FailedAttempt.objects.using(alias).filter(run__in=ids).order_by("pk"):
        failures[failure.run_id].append(failure)
    waits: dict[UUID, list[Wait]] = defaultdict(list)
    for wait in Wait.objects.using(alias).filter(run__in=ids).defer("value").order_by("pk"):
        waits[wait.run_id].append(wait)
    for rows in level:
        key = rows.run.pk
        rows.history, rows.checkpoints = history[key], checkpoints[key]
        rows.failures, rows.waits = failures[key], waits[key]
