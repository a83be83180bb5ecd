"""The engine of this process, on which all verbs of this package work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from trigger_celery.engine.core import Engine
from trigger_celery.errors import UsageError


class _Slot:
    """Holds the one installed engine."""

    engine: Engine | None = None


def install_engine(engine: Engine | None) -> Engine | None:
    """Make ``engine`` the one of this process; return the one before, to be put back."""
    before, _Slot.engine = _Slot.engine, engine
    return before


def installed_engine() -> Engine:
    """Return the engine of this process. Raises :exc:`UsageError` if there is none."""
    if _Slot.engine is None:
        raise UsageError(
            "trigger-celery is not set up in this process: add 'trigger_celery_django' to "
            "INSTALLED_APPS and call django.setup() before durable tasks are used"
        )
    return _Slot.engine


def database_time() -> datetime:
    """Return the database's time, by which all times of runs are judged."""
    return installed_engine().patient.now()


@contextmanager
def using_engine(engine: Engine) -> Iterator[None]:
    """Make ``engine`` the one of the process for a ``with`` block, and put back what was."""
    before = install_engine(engine)
    try:
        yield
    finally:
        install_engine(before)
