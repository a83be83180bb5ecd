"""The small Celery tasks of our own: recover, cancel. They carry ids and decide nothing."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from celery import Celery, shared_task

from trigger_celery.client.access import installed_engine
from trigger_celery.engine.core import Engine
from trigger_celery.engine.process.patience import worker_patience
from trigger_celery.engine.runs import control as run_control

SWEEP = "trigger_celery.sweep"
RECOVER = "trigger_celery.recover"
CANCEL = "trigger_celery.cancel"
BROKER = "broker"
"""Which author the history names of what a message asked for."""

logger = logging.getLogger("trigger_celery.worker")


def consumed_queue(app: Celery) -> Any:
    """Return a queue that this worker consumes: the pool beside its main process gets from it."""
    queues: Any = app.amqp.queues.consume_from
    return next(iter(queues.values()), app.conf.task_default_queue)


@shared_task(name=SWEEP, ignore_result=True, acks_late=False)
def sweep_once() -> None:
    """Do nothing: messages of older releases, and beat entries with this name, may still come."""


@shared_task(name=RECOVER, ignore_result=True, acks_late=False)
@worker_patience()
def recover_run(run_id: str, worker: str) -> None:
    """Take a run from a worker process that is known to have died."""
    run_control.recover(installed_engine(), UUID(run_id), worker)


@shared_task(name=CANCEL, ignore_result=True, acks_late=False)
@worker_patience()
def cancel_runs(ids: list[str], reason: str) -> None:
    """Cancel the runs among ids that a worker's Celery has revoked, if messages may."""
    for text in ids:
        try:
            run_id = UUID(text)
        except ValueError:
            continue  # not a durable task: its id is no UUID
        cancel_by_message(installed_engine(), run_id, reason)


def cancel_by_message(engine: Engine, run_id: UUID, reason: str) -> bool:
    """Cancel a run for a message of the broker, which its history names; False if none may."""
    if not engine.config.cancel_by_message:
        logger.warning("run %s is not canceled: CANCEL_BY_MESSAGE is off (%s)", run_id, reason)
        return False
    return run_control.cancel(engine, run_id, reason, by=BROKER)
