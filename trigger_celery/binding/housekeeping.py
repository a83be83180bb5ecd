"""The small Celery tasks of our own: sweep, recover, cancel. They carry ids and decide nothing."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from trigger_celery.engine import manage
from trigger_celery.engine.facade import installed_engine
from trigger_celery.engine.sweep import sweep

SWEEP = "trigger_celery.sweep"


@shared_task(name=SWEEP, ignore_result=True, acks_late=False)
def sweep_once() -> None:
    """Move on what is due, lost or late."""
    sweep(installed_engine())


@shared_task(name="trigger_celery.recover", ignore_result=True, acks_late=False)
def recover_run(run_id: str, worker: str) -> None:
    """Take a run from a worker process that is known to have died."""
    manage.recover(installed_engine(), UUID(run_id), worker)


@shared_task(name="trigger_celery.cancel", ignore_result=True, acks_late=False)
def cancel_run(run_id: str, reason: str) -> None:
    """Cancel a run that Celery was told to revoke."""
    manage.cancel(installed_engine(), UUID(run_id), reason)
