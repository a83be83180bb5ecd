"""Puts an engine into this process's Celery, and imports the modules that declare tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from celery import Celery, signals
from celery.app import app_or_default
from celery.fixups.django import DjangoFixup

from trigger_celery.celery.bulk_task import carry_out_bulk_operation
from trigger_celery.celery.results import connect_recording
from trigger_celery.celery.serializer import register_serializer
from trigger_celery.celery.worker import bootsteps, own_tasks
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.engine.core import Engine

LOGGERS = ("celery.app.trace", "celery.worker.strategy")
IGNORED = "ignored"
"""How Celery describes a task that was left without a result, such as a suspended run."""


class RunLogFilter(logging.Filter):
    """Drops "ignored" lines of durable tasks, warnings excepted."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        data = getattr(record, "data", None)
        if record.levelno > logging.INFO or not isinstance(data, dict):
            return True
        name = str(data.get("name"))
        return data.get("description") != IGNORED or declared_tasks.get(name) is None


def filter_logs() -> None:
    """Add the filter to Celery's loggers, once a process."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, RunLogFilter) for known in logger.filters):
            logger.addFilter(RunLogFilter())


TASKS = (
    own_tasks.sweep_once,
    own_tasks.recover_run,
    own_tasks.cancel_runs,
    carry_out_bulk_operation,
)
"""Our own tasks; every Celery app of the process has them."""


def install(engine: Engine) -> None:
    """Install an engine, its serializer, and the worker's and beat's part of the work."""
    install_engine(engine)
    register_serializer()
    filter_logs()
    connect_recording()
    bootsteps.connect(engine)


def discover() -> None:
    """Import what the current Celery app autodiscovers, includes and imports.

    One that fails holds up no other; an :exc:`ExceptionGroup` of all failures is raised in the end.
    """
    failures: list[Exception] = []
    for load in _loads(app_or_default()):
        try:
            load()
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("modules that declare tasks could not be imported", failures)


def _loads(app: Celery) -> Iterator[Callable[[], object]]:
    """Return what the loader's ``import_default_modules()`` calls, without Django's fixup.

    The fixup is for processes that begin: it sets Django up once more, so that a request would
    go on without its script prefix and logging would be configured anew, and it runs the
    system checks, which connect to every database.
    """
    imported: Any = signals.import_modules
    # send() would call the fixup too, and only log what the others raise.
    for receiver in imported._live_receivers(app):
        if not isinstance(getattr(receiver, "__self__", None), DjangoFixup):
            yield partial(receiver, signal=imported, sender=app)
    for module in app.loader.default_modules:
        yield partial(app.loader.import_task_module, module)
