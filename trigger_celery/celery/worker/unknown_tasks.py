"""Runs of a task that a worker does not know: it hands them back, soon and quietly.

Celery would store a failure under the run's id, and log a traceback for each message.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps

from trigger_celery.celery.dispatcher import NUDGE_HEADER

logger = logging.getLogger("trigger_celery.worker")

HANDED_BACK = "trigger_handed_back"
"""The message header that counts how often workers did not know the task."""
FIRST_PAUSE = 0.1
"""Seconds until a nudge is back in its queue; each further time they double."""
MOST = 9
"""So often, which is most of a minute, a nudge is handed back; later ones are the sweep's."""


class UnknownTasks:
    """Stands in for a consumer's ``on_unknown_task``."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._others = consumer.on_unknown_task
        self._said: set[str] = set()

    def __call__(self, body: Any, message: Any, error: Exception) -> None:
        """Hand a nudge back after a pause; leave any other message to Celery."""
        headers = message.headers
        if NUDGE_HEADER not in headers:
            self._others(body, message, error)
            return
        message.ack_log_error(logger, self._consumer.connection_errors)
        self._say(str(headers.get("task")), str(headers.get("id")))
        times = int(headers.get(HANDED_BACK, 0))
        if times < MOST:
            pause = FIRST_PAUSE * 2**times
            self._consumer.timer.call_after(pause, self._hand_back, (message, times + 1))

    def _say(self, task: str, run_id: str) -> None:
        if task in self._said:
            return
        self._said.add(task)
        logger.warning(
            "this worker does not know task %r of run %s: it leaves all runs of it to other "
            "workers. If the task was renamed, declare it with aliases=[%r]; if it is gone, cancel "
            "its runs with 'manage.py trigger_runs cancel --task %s'",
            task,
            run_id,
            task,
            task,
        )

    def _hand_back(self, message: Any, times: int) -> None:
        route, known = message.delivery_info, message.properties
        try:
            with self._consumer.app.producer_or_acquire() as producer:
                producer.publish(
                    message.body,
                    exchange=route.get("exchange", ""),
                    routing_key=route.get("routing_key"),
                    headers={**message.headers, HANDED_BACK: times},
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    correlation_id=known.get("correlation_id"),
                    priority=known.get("priority"),
                )
        except Exception as error:  # the sweep nudges again
            logger.debug("a nudge was not handed back: %s", error)


class UnknownTaskStep(bootsteps.Step):
    """Gives a worker's consumer its :class:`UnknownTasks`."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        parent.on_unknown_task = UnknownTasks(parent)
