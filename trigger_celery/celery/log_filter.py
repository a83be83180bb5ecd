"""Keeps Celery's log lines to what somebody reads: one per run, none per look at it."""

from __future__ import annotations

import logging

from trigger_celery.declare.definition import registry

LOGGERS = ("celery.app.trace", "celery.worker.strategy")
IGNORED = "ignored"
"""How Celery describes a task that was left without a result, such as a suspended run."""


class QuietFilter(logging.Filter):
    """Drops "ignored" lines of durable tasks and all lines about the sweep, warnings excepted."""

    def __init__(self, sweep: str) -> None:
        super().__init__()
        self._sweep = sweep

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        data = getattr(record, "data", None)
        if record.levelno > logging.INFO or not isinstance(data, dict):
            return True
        name = str(data.get("name"))
        if name == self._sweep:
            return False
        return data.get("description") != IGNORED or registry.get(name) is None


def quieten(sweep: str) -> None:
    """Add the filter to Celery's loggers, once a process. ``sweep`` is the sweep task's name."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, QuietFilter) for known in logger.filters):
            logger.addFilter(QuietFilter(sweep))
