"""Counts the runs that execute already when their queue becomes limited."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import connections
from django.db.models import Exists, OuterRef

from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.queues.slots import meets, take_slots

_BATCH = 500
_COLUMNS = ("id", "task", "queue", "concurrency_key", "line_at", "fence")


def count_executing(alias: str, names: Collection[str]) -> None:
    """Give slots to the runs of these queues that execute without one; in a transaction.

    They are found without locks, and locked by their ids: on MariaDB and MySQL a search that
    locks waits for all the rows that it passes. No claim gives one of them another fence before
    this commits.
    """
    slot = models.Slot.objects.using(alias).filter(run=OuterRef("pk"), fence=OuterRef("fence"))
    # A run that executes has a lease that ends: an index knows those that have anything to come.
    executing = models.Run.objects.using(alias).filter(
        meets(names), ~Exists(slot), state=RunState.EXECUTING, due_at__isnull=False
    )
    found = list(executing.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(found), _BATCH):
        take_slots(alias, _locked(alias, found[start : start + _BATCH]))


def _locked(alias: str, run_ids: Sequence[UUID]) -> list[models.Run]:
    """Lock those of the runs that still execute, and return them."""
    runs = models.Run.objects.using(alias).filter(state=RunState.EXECUTING).only(*_COLUMNS)
    skips = connections[alias].features.has_select_for_update_skip_locked
    free = list(runs.filter(pk__in=run_ids).select_for_update(skip_locked=skips).order_by("pk"))
    # Rows that are locked are waited for, one by one: a small table might be read as a whole.
    rest = sorted(set(run_ids) - {run.pk for run in free})
    waited_for = (runs.filter(pk=run_id).select_for_update().first() for run_id in rest)
    return [*free, *(run for run in waited_for if run is not None)]
