"""What a queue's row and the rows of its keys say of its limits and rates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache

from django.db import connections

from trigger_celery.vocabulary.admission import Gate
from trigger_celery.vocabulary.records import Limits, Rate, StoredQueue
from trigger_celery_django import models
from trigger_celery_django.store.common.rows import read_now


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


_SECOND = timedelta(seconds=1)


def stored(row: models.DurableQueue) -> StoredQueue:
    """Return the record of a row."""
    return StoredQueue(
        name=row.name,
        declared=Limits(**limits_of(row.declared)),  # type: ignore[arg-type]
        overrides=limits_of(row.overrides),
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        pause_reason=row.pause_reason,
    )


def gate_of(row: models.DurableQueue) -> Gate:
    """Return what a row allows runs that are to start."""
    return gate(row.name, row.declared, row.overrides, row.paused_at is not None)


@lru_cache(maxsize=1000)
def gate(name: str, declared: str, overrides: str, paused: bool) -> Gate:
    """Return what the columns of a row allow runs that are to start; remembered as they are."""
    limits = Limits(**limits_of(declared) | limits_of(overrides))  # type: ignore[arg-type]
    return Gate(name=name, limits=limits, paused=paused)


def limits_of(text: str) -> dict[str, int | Rate | None]:
    """Return limits by their names in ``Limits``, as :func:`limits_text` stored them."""
    return {
        name: Rate(interval=timedelta(seconds=value[0]), burst=value[1])
        if isinstance(value, list)
        else value
        for name, value in json.loads(text).items()
    }


def limits_text(limits: Mapping[str, int | Rate | None]) -> str:
    """Return the text that stores limits by their names in ``Limits``; rates are in seconds."""
    return json.dumps(
        {
            name: [value.interval / _SECOND, value.burst] if isinstance(value, Rate) else value
            for name, value in limits.items()
        },
        sort_keys=True,
    )


def declared_text(limits: Limits) -> str:
    """Return the text that stores what code says: what is not limited is left out."""
    named = {name: getattr(limits, name) for name in Limits.__dataclass_fields__}
    return limits_text({name: value for name, value in named.items() if value is not None})
