"""The small Celery tasks of our own: sweep, recover, cancel. They carry ids and decide nothing."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any
from uuid import UUID

from celery import Celery, shared_task
from kombu import Queue

from trigger_celery.client.installed import installed_engine
from trigger_celery.engine.process.patience import worker_patience
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.upkeep.sweep import sweep
from trigger_celery.errors import NotMigrated, StoreUnavailable

logger = logging.getLogger("trigger_celery.sweep")

SWEEP = "trigger_celery.sweep"
RECOVER = "trigger_celery.recover"
CANCEL = "trigger_celery.cancel"


def own_queue(app: Celery) -> Queue:
    """Return the queue of these tasks, which every worker consumes beside its own.

    In a queue of runs a sweep would wait behind their backlog, and so would every timer.
    """
    name = f"{app.conf.task_default_queue}.trigger_celery"
    queues: Any = app.amqp.queues
    found: Queue = queues[name] if name in queues else queues.add(queues.new_missing(name))
    return found


@shared_task(name=SWEEP, ignore_result=True, acks_late=False)
def sweep_once() -> None:
    """Move on what is due, lost or late."""
    try:
        sweep(installed_engine())
    except StoreUnavailable as error:
        logger.warning("the database is away, the next sweep does the work: %s", error)
    except NotMigrated as error:
        _say_once(str(error))


@cache
def _say_once(why: str) -> None:
    """Log it once a process: the next message comes in a second."""
    logger.error("nothing can be swept: %s", why)


@shared_task(name=RECOVER, ignore_result=True, acks_late=False)
@worker_patience()
def recover_run(run_id: str, worker: str) -> None:
    """Take a run from a worker process that is known to have died."""
    run_control.recover(installed_engine(), UUID(run_id), worker)


@shared_task(name=CANCEL, ignore_result=True, acks_late=False)
@worker_patience()
def cancel_runs(ids: list[str], reason: str) -> None:
    """Cancel the runs among ids that a worker's Celery has revoked."""
    for text in ids:
        try:
            run_id = UUID(text)
        except ValueError:
            continue  # not a durable task: its id is no UUID
        run_control.cancel(installed_engine(), run_id, reason)
