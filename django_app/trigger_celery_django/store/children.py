"""Runs that other runs started and wait for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from uuid import UUID

from trigger_celery.vocabulary.records import ChildEnd, Created, Lease, NewRun, Nudge
from trigger_celery.vocabulary.states import RunState, WaitState
from trigger_celery_django import models
from trigger_celery_django.conf import config
from trigger_celery_django.models.querysets import RunQuerySet
from trigger_celery_django.store.common.guard import Guard, lost
from trigger_celery_django.store.common.rows import (
    DatabaseNow,
    add_tags,
    check_length,
    noted,
    nudge,
)
from trigger_celery_django.store.databases import DatabaseVerbs

_LIVE = sorted(state for state in RunState if not state.terminal)
_SHOWN = 10
"""So many ids of a batch of children are listed by the parent's history."""


class DjangoChildren:
    """Implements :class:`trigger_celery.ports.Children`."""

    def __init__(self, guard: Guard, verbs: DatabaseVerbs) -> None:
        self._guard = guard
        self._alias = guard.alias
        self._verbs = verbs

    def create(self, lease: Lease, runs: Sequence[NewRun]) -> Created:
        for run in runs:
            check_length("task", run.task)
        return self._guard.transaction(lambda: self._create(lease, runs))

    def _create(self, lease: Lease, runs: Sequence[NewRun]) -> Created:
        no_key = self._guard.connection.features.has_select_for_no_key_update
        held = models.Run.objects.using(self._alias).held(lease).select_for_update(no_key=no_key)
        parent = held.only("id", "state", "fence", "worker").first()
        if parent is None:
            raise lost(lease)
        created = self._verbs.create(runs)
        add_tags(self._alias, runs, created)
        if created:
            ids = [str(run.id) for run in runs if run.id in created]
            details = {"key": runs[0].parent_key, "count": len(ids), "first": ids[:_SHOWN]}
            noted(parent, "start children", **details).save(using=self._alias, force_insert=True)
        return created

    def live(self, parent_id: UUID, key: str) -> bool:
        if not self._guard.connection.features.supports_slicing_ordering_in_compound:
            return self._guard.read(self._live(parent_id).filter(parent_key=key).exists)
        # An ordered range for each state: of an equality PostgreSQL may hope that a scan of the
        # table meets one soon, where many siblings have ended and none lives.
        children = models.Run.objects.using(self._alias).filter(parent=parent_id, parent_key=key)
        first, *others = (
            children.filter(state__gte=state, state__lte=state)
            .order_by("state")
            .values_list("state")[:1]
            for state in _LIVE
        )
        return self._guard.read(lambda: bool(first.union(*others, all=True)))

    def ends(self, ids: Collection[UUID]) -> Mapping[UUID, ChildEnd]:
        rows = models.Run.objects.using(self._alias).filter(pk__in=ids)
        found = rows.values_list("pk", "state", "output", "error")
        return {
            run_id: ChildEnd(run_id=run_id, state=RunState(state), output=output, error=error)
            for run_id, state, output, error in self._guard.read(lambda: list(found))
        }

    def close(
        self, parent_id: UUID, error: str, *, limit: int, key: str | None = None
    ) -> Sequence[Nudge]:
        children = self._live(parent_id).filter(closes_with_parent=True)
        if key is not None:
            children = children.filter(parent_key=key)
        # Locked in one order, but not found in it: that might read the whole table by its key.
        some = children.values_list("pk", flat=True)[:limit]
        while found := self._guard.read(lambda: list(some.all())):
            work = partial(self._close, children, found, error)
            if nudges := self._guard.transaction(work):
                return nudges
        return ()

    def _close(
        self, children: RunQuerySet[models.Run], found: Collection[UUID], error: str
    ) -> Sequence[Nudge]:
        """Cancel those of the children that were found and did not end meanwhile."""
        locked = children.filter(pk__in=found).select_for_update().order_by("pk")
        runs = list(locked.only("id", "task", "canvas", "fence"))
        ids = [run.pk for run in runs]
        now = DatabaseNow()
        models.Run.objects.using(self._alias).filter(pk__in=ids).update(
            state=RunState.CANCELED,
            worker="",
            error=error,
            finished_at=now,
            published_at=None,
            # Its nudge follows this commit: another one has time.
            due_at=now + config().nudge_interval,
            deadline_at=None,
        )
        waits = models.Wait.objects.using(self._alias).filter(run__in=ids).open()
        waits.update(state=WaitState.CANCELED, resolved_at=now)
        for run in runs:
            run.state, run.worker = RunState.CANCELED, ""
        entries = [noted(run, "cancel") for run in runs]
        models.History.objects.using(self._alias).bulk_create(entries)
        return tuple(nudge(run) for run in runs)

    def _live(self, parent_id: UUID) -> RunQuerySet[models.Run]:
        runs = models.Run.objects.using(self._alias)
        return runs.filter(parent=parent_id, state__in=_LIVE)
