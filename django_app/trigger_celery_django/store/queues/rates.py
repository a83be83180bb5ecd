"""Rates that are changed: what starts under the old one counted must not outlast it."""

from __future__ import annotations

from django.db import connections

from trigger_celery.vocabulary.records import Limits
from trigger_celery_django import models
from trigger_celery_django.store.common.times import read_now
from trigger_celery_django.store.queues.limits import stored


def hold_from_now(alias: str, row: models.DurableQueue, before: Limits) -> None:
    """Let changed rates of a locked and saved queue hold from now on, unlike those ``before``.

    The next start is due no later than if the burst of the new rate had just been used up.
    No statement where no rate changed.
    """
    after = stored(row).limits
    queues = models.DurableQueue.objects.using(alias).filter(name=row.name)
    keys = models.KeyRate.objects.using(alias).filter(queue=row.name)
    changed = ((after.rate, before.rate, queues), (after.key_rate, before.key_rate, keys))
    for rate, old, rows in changed:
        if rate is not None and rate != old:
            latest = read_now(connections[alias]) + rate.interval * rate.burst
            rows.filter(due_at__gt=latest).update(due_at=latest)
