"""Puts an engine into this process's Celery: called once by the Django app."""

from __future__ import annotations

from trigger_celery.celery import confirmation, housekeeping, worker
from trigger_celery.celery.log_filter import quieten
from trigger_celery.celery.serializer import register_serializer
from trigger_celery.client.installed import install_engine
from trigger_celery.engine.core import Engine

TASKS = (housekeeping.sweep_once, housekeeping.recover_run, housekeeping.cancel_runs)
"""Our own tasks; every Celery app of the process has them."""


def install(engine: Engine) -> None:
    """Install an engine, its serializer, and the worker's and beat's part of the work."""
    install_engine(engine)
    register_serializer()
    quieten(housekeeping.SWEEP)
    confirmation.connect()
    worker.connect(engine)
