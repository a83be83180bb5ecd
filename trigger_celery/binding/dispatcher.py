"""Publishes nudges: small Celery messages that carry a run's id and decide nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.app import app_or_default
from kombu import Connection
from kombu.pools import producers

from trigger_celery.binding import canvas
from trigger_celery.records import Nudge

logger = logging.getLogger("trigger_celery.dispatcher")

NUDGE_HEADER = "trigger_nudge"
"""The message header that tells a nudge from a task somebody published by hand."""


class CeleryDispatcher:
    """Publishes through the current Celery app, on connections with short timeouts.

    A broker that is away or hangs costs the caller at most about ``timeout()``; the sweep
    nudges again.
    """

    def __init__(self, timeout: Callable[[], timedelta]) -> None:
        self._timeout = timeout
        self._connection: Connection | None = None
        self._owner: tuple[int, int] | None = None

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish a hint for each run; log and stop at the first failure."""
        if not nudges:
            return
        app = app_or_default()
        sent = 0
        try:
            pool = producers[self._connect(app)]
            with pool.acquire(block=True, timeout=self._timeout().total_seconds()) as producer:
                for nudge in nudges:
                    _publish(app, producer, nudge)
                    sent += 1
        except Exception as error:
            logger.warning(
                "%d of %d nudges could not be published, the sweep will: %s: %s",
                len(nudges) - sent,
                len(nudges),
                type(error).__name__,
                error,
            )

    def _connect(self, app: Celery) -> Connection:
        """Return this process's connection: a fork must not share its parent's sockets."""
        owner = (os.getpid(), id(app))
        if self._connection is None or self._owner != owner:
            seconds = self._timeout().total_seconds()
            self._connection = app.connection_for_write(
                connect_timeout=seconds, transport_options=_timeouts(app, seconds)
            )
            self._owner = owner
        return self._connection


def _timeouts(app: Celery, seconds: float) -> dict[str, Any]:
    """Return transport options under which a hung broker raises instead of blocking."""
    url = str(app.conf.broker_write_url or app.conf.broker_url or "")
    if url.startswith(("redis", "rediss", "sentinel")):
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if url.startswith(("amqp", "pyamqp")):
        return {"read_timeout": seconds, "write_timeout": seconds}
    return {}


def _publish(app: Celery, producer: Any, nudge: Nudge) -> None:
    saved = canvas.load(nudge.canvas)
    app.send_task(
        nudge.task,
        args=(),
        kwargs={},
        task_id=str(nudge.run_id),
        producer=producer,
        task_type=app.tasks.get(nudge.task),
        add_to_parent=False,
        root_id=saved.get("root_id") or str(nudge.run_id),
        parent_id=saved.get("parent_id"),
        headers={NUDGE_HEADER: True},
        retry=True,
        retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
        **canvas.routing(saved),
    )
