"""Publishes nudges: small Celery messages that carry a run's id and decide nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.app import app_or_default
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool
from kombu.transport import virtual

from trigger_celery.celery import canvas
from trigger_celery.vocabulary.records import Nudge

logger = logging.getLogger("trigger_celery.dispatcher")

NUDGE_HEADER = "trigger_nudge"
"""The message header that marks a nudge; a message that a client published by hand has none."""
RETRY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}
"""Once more on a new connection: the old one may have died while it was idle."""
NOT_FOUND = "404"
"""The reply of a broker that has no queue of this name."""
BATCH = 100
"""How many nudges are pipelined: sent together, and answered together."""
SOCKETS = 10
"""Connections to the broker that one process opens at most for nudges."""


_silent = ContextVar("trigger_celery_silent", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """Publish nothing in this block: its runs are executed by their caller."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owned:
    """Producers of one process for one app and broker."""

    pid: int
    app: Celery
    url: str
    producers: Any


class CeleryDispatcher:
    """Publishes through the current Celery app, on connections with short timeouts.

    A broker that is away or hangs costs the caller at most about twice ``timeout()``; the
    sweep nudges again.
    """

    def __init__(self, timeout: Callable[[], timedelta]) -> None:
        self._timeout = timeout
        self._owned: _Owned | None = None
        self.refusals = 0

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        """Publish a hint for each run; what fails is logged.

        A broker that is away ends it at once; one nudge that cannot be sent, as to a queue that
        is not declared, holds up no other.
        """
        if not nudges or _silent.get():
            return
        sent, failure = 0, None
        try:
            app = app_or_default()
            pool = self._producers(app)
            with pool.acquire(block=True, timeout=self._timeout().total_seconds()) as producer:
                for batch in _batches(nudges):
                    failed = []
                    with _pipeline(producer):
                        for nudge in batch:
                            try:
                                _publish(app, producer, nudge)
                            except (OperationalError, OSError):
                                raise
                            except Exception as error:
                                failed.append(error)
                    failure = failed[-1] if failed else failure
                    sent += len(batch) - len(failed)
        except Exception as error:
            failure = error
        self.refusals = 0 if sent else self.refusals + 1
        if failure is not None:
            logger.warning(
                "%d of %d nudges could not be published, the sweep will: %s: %s",
                len(nudges) - sent,
                len(nudges),
                type(failure).__name__,
                failure,
            )

    def route(self, nudge: Nudge) -> str:
        """Return the broker's queue (or exchange and key) and the priority of a nudge."""
        try:
            options = _routed(app_or_default(), nudge, canvas.routing(canvas.load(nudge.canvas)))
        except Exception:  # a queue that is not declared: publishing says so
            return ""
        return f"{_destination(options)} {options.get('priority') or ''}"

    def backlog(self, nudge: Nudge) -> int | None:
        """Ask the broker how many messages wait in the queue of a nudge."""
        try:
            app = app_or_default()
            options = _routed(app, nudge, canvas.routing(canvas.load(nudge.canvas)))
            queue = _queue(options)
            if queue is None:
                return None
            seconds = self._timeout().total_seconds()
            connection = self._producers(app).connections.acquire(block=True, timeout=seconds)
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
                return _count(connection, queue.name)
            finally:
                # As a context it would be closed after any error, and kept so in its pool.
                connection.release()
        except Exception as error:
            logger.info(
                "the broker does not say how many messages wait: %s: %s",
                type(error).__name__,
                error,
            )
            return None

    def _producers(self, app: Celery) -> Any:
        """Return this process's pool. A fork drops its parent's and leaves its sockets alone.

        Celery's and kombu's own pools are emptied by forks of multiprocessing only, not by
        those of a web server that loads the application first.
        """
        url = _url(app)
        owned = self._owned
        if owned is None or (owned.pid, owned.app, owned.url) != (os.getpid(), app, url):
            _close(owned)  # not self.close(): another thread may have just opened one
            seconds = self._timeout().total_seconds()
            connection = app.connection_for_write(
                connect_timeout=seconds, transport_options=_timeouts(url, seconds)
            )
            pool = ProducerPool(connection.Pool(limit=SOCKETS), limit=SOCKETS)
            owned = self._owned = _Owned(pid=os.getpid(), app=app, url=url, producers=pool)
        return owned.producers

    def close(self) -> None:
        """Close the connections of this process; the next nudge opens new ones."""
        owned, self._owned = self._owned, None
        _close(owned)


def _count(connection: Any, queue: str) -> int:
    """Return how many messages wait in a queue; none do in one that is not there."""
    with connection.channel() as channel:  # a queue that is not there costs it its life
        if isinstance(channel, virtual.Channel):
            # Redis declares every queue missing where its keys have a ``global_keyprefix``.
            return int(channel._size(queue))
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except Exception as error:
            if str(getattr(error, "reply_code", "")) == NOT_FOUND:
                return 0
            raise


def _batches(nudges: Sequence[Nudge]) -> Iterator[Sequence[Nudge]]:
    """Return the first alone, which finds out whether its connection is alive, then many each."""
    yield nudges[:1]
    for start in range(1, len(nudges), BATCH):
        yield nudges[start : start + BATCH]


def _pipeline(producer: Any) -> AbstractContextManager[object]:
    """Return a context in which nothing waits for a broker's answer, as kombu 5.7 has one."""
    batch = getattr(producer, "batch", None)
    return nullcontext() if batch is None else batch(max_size=BATCH)


def _close(owned: _Owned | None) -> None:
    if owned is not None and owned.pid == os.getpid():
        owned.producers.force_close_all()
        owned.producers.connections.force_close_all()


def _url(app: Celery) -> str:
    return str(app.conf.broker_write_url or app.conf.broker_url or "")


def _timeouts(url: str, seconds: float) -> dict[str, Any]:
    """Return transport options under which a hung broker raises instead of blocking."""
    if url.startswith(("redis", "rediss", "sentinel")):
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if url.startswith(("amqp", "pyamqp")):
        return {"read_timeout": seconds, "write_timeout": seconds}
    return {}


def _routed(app: Celery, nudge: Nudge, options: dict[str, Any]) -> dict[str, Any]:
    task: Any = app.tasks.get(nudge.task)
    routed: dict[str, Any] = app.amqp.router.route(options, nudge.task, (), {}, task)
    return routed


def _queue(options: dict[str, Any]) -> Any:
    """Return the queue that a message goes to, None if an exchange decides where it goes.

    Celery's router adds the default queue to an exchange, which gets the message all the same.
    """
    return None if options.get("exchange") else options.get("queue")


def _destination(options: dict[str, Any]) -> str:
    queue = _queue(options)
    if queue is not None:
        return str(queue.name)
    return f"{options.get('exchange')}/{options.get('routing_key')}"


def _publish(app: Celery, producer: Any, nudge: Nudge) -> None:
    """Publish below ``send_task``, which would subscribe this process to the run's result.

    And unsubscribe it afterwards, from under a thread that waits for that result.
    """
    saved = canvas.load(nudge.canvas)
    run_id, amqp = str(nudge.run_id), app.amqp
    options = canvas.routing(saved)
    fields = {name: options.pop(name, None) for name in canvas.MESSAGE}
    # The input itself stays out of brokers: these texts the caller chose to be seen.
    fields |= {name: saved.get(name) for name in canvas.TEXTS}
    options = _routed(app, nudge, options)
    message = amqp.create_task_message(
        run_id,
        nudge.task,
        (),
        {},
        root_id=saved.get("root_id") or run_id,
        parent_id=saved.get("parent_id"),
        **fields,
    )
    amqp.send_task_message(
        producer,
        nudge.task,
        message,
        headers={**saved.get("headers", {}), NUDGE_HEADER: True},
        retry=True,
        retry_policy=RETRY,
        **options,
    )
