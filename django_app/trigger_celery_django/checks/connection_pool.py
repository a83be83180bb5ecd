"""Whether Django's connection pool is large enough for a worker: a check, and one at its start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from celery import current_app, signals
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.solo import TaskPool as Solo
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, router

from trigger_celery.body.parallel import MAX_PARALLEL
from trigger_celery_django.models import Run

logger = logging.getLogger("trigger_celery.worker")

MIN_SIZE = 4
"""What psycopg_pool makes of a pool whose options name no size."""
ONE_RUN_A_PROCESS = (Prefork, Solo)
"""Celery's pools whose processes, with connection pools of their own, execute a run at a time."""


def pool_problems() -> Iterator[CheckMessage]:
    """Find a connection pool that is too small for the workers that Celery's settings name."""
    conf = current_app.conf
    kind = get_implementation(conf.worker_pool)
    if conf.worker_concurrency and (problem := _problem(kind, conf.worker_concurrency)):
        hint = "See 'Django's own pool' on the page about production."
        yield checks.Warning(problem, hint=hint, id="trigger_celery.W007")


@signals.celeryd_after_setup.connect(weak=False)
def look_at_start(instance: Any, **kwargs: Any) -> None:
    """Warn in the log of a worker that begins: its own options count."""
    if problem := _problem(instance.pool_cls, instance.concurrency):
        logger.warning("%s", problem)


def _problem(kind: type[Any], runs: int) -> str:
    """Return what is wrong with the connection pool for so many runs at once, or nothing."""
    alias = router.db_for_write(Run)
    size = _size(connections[alias].settings_dict["OPTIONS"].get("pool"))
    if size is None or size >= runs or issubclass(kind, ONE_RUN_A_PROCESS):
        return ""
    return (
        f"The connection pool of the database {alias!r} holds {size} connections, but a worker "
        f"executes {runs} runs at once in one process: each takes a connection, and one in a "
        f"gather() or wait_any() of a def body up to {MAX_PARALLEL} (max_parallel). Runs wait for "
        f"each other, and fail to get one after the pool's timeout. Set OPTIONS['pool'] to "
        f"{{'max_size': {runs}}} or more, or lower the worker's concurrency."
    )


def _size(pool: Any) -> int | None:
    """Return how many connections the option ``pool`` allows; None without one."""
    if not pool:
        return None
    sizes = {} if pool is True else pool
    found: int = sizes.get("max_size") or sizes.get("min_size", MIN_SIZE)
    return found
