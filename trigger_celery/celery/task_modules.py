"""Imports the modules in which a project declares its tasks, as a worker does at its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from celery import Celery, signals
from celery.app import app_or_default
from celery.fixups.django import DjangoFixup


def discover() -> None:
    """Import what the current Celery app autodiscovers, includes and imports.

    One that fails holds up no other; an :exc:`ExceptionGroup` tells of all in the end.
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
