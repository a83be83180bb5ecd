"""What an admission reads and writes, under the locks of the queues; on any database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Least

from trigger_celery.vocabulary.admission import KeyOf
from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.common.guard import Guard
from trigger_celery_django.store.common.rows import DatabaseNow, upsert
from trigger_celery_django.store.queues import slots
from trigger_celery_django.store.queues import waiting as lines
from trigger_celery_django.store.queues.next_runs import may_start

WINDOW = 500
"""So many keys and tasks of a line are looked at in one call, from the last one's turn on."""

SubLines = Sequence[tuple[str, str]]


class AdmissionRows:
    """The rows of one line and of the queues that may limit its runs."""

    def __init__(self, guard: Guard, queue: str) -> None:
        self.alias, self.connection = guard.alias, guard.connection
        self.queue = queue
        self._gates = self._condition()
        if self.connection.vendor == "mysql":
            # To find rows while it locks them, it would wait for all that it passes on the way.
            names = models.DurableQueue.objects.using(self.alias).filter(self._gates)
            found = guard.statement(lambda _: list(names.values_list("name", flat=True)))
            self._gates = Q(name__in={queue, *found})

    def lock(self) -> Mapping[str, models.DurableQueue]:
        """Lock the queues and return them by name, each with the time as ``read_at``.

        That of the line even if it has no limits, so that there is one admission at a time.
        """
        rows = models.DurableQueue.objects.using(self.alias).filter(self._gates)
        # The time is that before the locks, which makes admissions careful that waited for them.
        locked = rows.select_for_update().order_by("name").annotate(read_at=DatabaseNow())
        return {row.name: row for row in locked}

    def waiting(self, last_key: str) -> SubLines:
        """Return the keys and tasks of the runs in line, those after the last key first."""
        return lines.sub_lines(self.connection, self.queue, last_key, WINDOW)

    def counts(self, gates: Collection[str], promised_after: datetime) -> Mapping[KeyOf, int]:
        """Count the holders of slots of these queues, by queue and key."""
        return slots.counts_of(self.alias, gates, promised_after)

    def places(self, wanted: Sequence[tuple[str, str, int]]) -> Sequence[models.Run]:
        """Return the first runs in line for each key, task and number of them."""
        return lines.places(self.connection, self.queue, wanted)

    def promise(self, chosen: Sequence[UUID], now: datetime, until: datetime) -> None:
        """Note that these runs were promised a slot, and are to be nudged again at ``until``.

        They may start ``now``, also if the clock was set back since they were queued. A run whose
        row another transaction has locked is only nudged, and keeps its place in line.
        """
        # A process that ended or paused a run meanwhile has set when it is due.
        waiting = self._free(chosen).filter(state=RunState.QUEUED, paused_at=None)
        free = list(waiting.values_list("pk", flat=True))
        self._places(free).update(promised_at=now)
        models.Run.objects.using(self.alias).filter(pk__in=free).update(
            due_at=until, available_at=Least("available_at", Value(now))
        )

    def remove(self, gone: Collection[UUID], now: datetime) -> int:
        """Take runs that still cannot start out of the line; return how many.

        Their next claim puts them there again, and a run that goes on later has a nudge coming: one
        that was resumed, or put off. One that did, and joined again, has nothing but its place.
        """
        still = [run.pk for run in self._free(gone) if not may_start(run, now)]
        return self._places(still).delete()[0] if still else 0

    def save_turn(self, last_key: str) -> None:
        """Remember whose turn it was; the line has a row from then on."""
        row = models.DurableQueue(name=self.queue, last_key=last_key)
        upsert(self.alias, [row], unique=("name",), over=("last_key",))

    def _free(self, run_ids: Collection[UUID]) -> QuerySet[models.Run]:
        """Lock those of the runs that no other transaction has locked.

        A caller's transaction may lock one for long: to wait for it would hold up the queue.
        """
        skips = self.connection.features.has_select_for_update_skip_locked
        runs = models.Run.objects.using(self.alias).filter(pk__in=run_ids)
        return runs.select_for_update(skip_locked=skips)

    def _places(self, run_ids: Collection[UUID]) -> QuerySet[models.Slot]:
        places = models.Slot.objects.using(self.alias)
        return places.filter(pk__in=run_ids, fence=None, promised_at=None)

    def _condition(self) -> Q:
        wide = Q(name=EVERYTHING)
        if not self.queue.startswith(OF_TASK):
            # Those of any task: which tasks wait is not known before the locks.
            wide |= Q(name__startswith=OF_TASK)
        return Q(name=self.queue) | (wide & Q(limited=True))
