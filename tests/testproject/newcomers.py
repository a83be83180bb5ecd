"""Tasks that only workers of a later release know: those that are started with ``celery -I``."""

from __future__ import annotations

from testproject.shop.tasks import effect, last
from trigger_celery import durable_task


@durable_task(name="newcomer")
def newcomer(value: int) -> int:
    """Return what it is given."""
    return int(last(value))


@durable_task(name="renamed", aliases=["named-at-first"])
def renamed(value: int) -> int:
    """Return what it is given, with what it is called now."""
    effect("renamed")
    return int(last(value))
