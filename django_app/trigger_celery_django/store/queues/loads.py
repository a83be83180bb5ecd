"""How full durable queues are, and which runs fill them: for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from django.db.models import Count, Min, OuterRef, Subquery
from django.db.models.functions import Coalesce

from trigger_celery.vocabulary.records import EVERYTHING, OF_TASK, Holder, QueueLoad
from trigger_celery.vocabulary.states import RunState
from trigger_celery_django import models
from trigger_celery_django.store.queues.slots import HELD, held


def loads(alias: str) -> Sequence[QueueLoad]:
    """Return how full each queue with runs in it is, by name; three statements."""
    slots = models.Slot.objects.using(alias).order_by().values_list("queue", "task")
    waiting = slots.filter(fence=None, run__state=RunState.QUEUED)  # promised a slot or not
    limited = models.DurableQueue.objects.using(alias).filter(limited=True)
    wide = set(limited.values_list("name", flat=True))
    found: dict[str, QueueLoad] = {}
    for queue, task, number in slots.filter(HELD).annotate(Count("pk")):
        for name in _counted(queue, task, wide):
            load = found.get(name) or QueueLoad(name=name)
            found[name] = replace(load, held=load.held + number)
    numbers = waiting.annotate(number=Count("pk"), since=Min("run__available_at"))
    for queue, task, number, since in numbers:
        for name in _counted(queue, task, wide):
            found[name] = _longer(found.get(name) or QueueLoad(name=name), number, since)
    return [found[name] for name in sorted(found)]


def holders(alias: str, name: str, limit: int) -> Sequence[Holder]:
    """Return the holders of slots of the queue, the longest first; one statement."""
    claims = models.History.objects.using(alias).filter(
        run=OuterRef("run"), fence=OuterRef("fence"), verb="claim"
    )
    since = Coalesce(Subquery(claims.values("at")[:1]), "run__started_at")
    rows = held(alias, [name]).annotate(since=since).order_by("since", "pk")
    columns = ("run_id", "queue", "key", "task", "run__worker", "since")
    return [
        Holder(run_id=run_id, queue=queue, key=key, task=task, worker=worker, since=since)
        for run_id, queue, key, task, worker, since in rows.values_list(*columns)[:limit]
    ]


def _counted(queue: str, task: str, limited: set[str]) -> Iterable[str]:
    return {queue, *({EVERYTHING, OF_TASK + task} & limited)}


def _longer(load: QueueLoad, number: int, since: datetime) -> QueueLoad:
    earliest = since if load.waiting_since is None else min(since, load.waiting_since)
    return replace(load, waiting=load.waiting + number, waiting_since=earliest)
