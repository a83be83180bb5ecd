"""Django's signals for what happens to runs, steps, events and durable queues.

::

    from trigger_celery_django.signals import run_failed

    @receiver(run_failed, sender="shop.tasks.process_order")
    def alert(sender, news, **kwargs):
        page_operator(news.run_id, news.error)

They are sent after the commit of what they announce, in the process that did it. They may be
missed when that process dies, and may repeat: use a task's hooks for what has to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from django.dispatch import Signal

from trigger_celery.client.access import PLAIN_CODE, acting
from trigger_celery.vocabulary.news import EventNews, News, QueueNews, Topic


class TriggerSignal(Signal):
    """A signal whose sender is the name of the task, event or durable queue that it is about.

    Receivers are called with ``sender`` and ``news``. ``connect`` and ``disconnect`` also take
    a task itself as the sender.
    """

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object | None = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
    ) -> None:
        """Connect a receiver, for one task or for all of them."""
        super().connect(receiver, _sender(sender), weak=weak, dispatch_uid=dispatch_uid)

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: object | None = None,
        dispatch_uid: str | None = None,
    ) -> bool:
        """Disconnect a receiver; return whether it was connected."""
        return super().disconnect(receiver, _sender(sender), dispatch_uid=dispatch_uid)


run_created = TriggerSignal()
run_started = TriggerSignal()
run_suspended = TriggerSignal()
run_resumed = TriggerSignal()
run_retrying = TriggerSignal()
run_completed = TriggerSignal()
run_failed = TriggerSignal()
run_canceled = TriggerSignal()
run_expired = TriggerSignal()
run_timed_out = TriggerSignal()
run_dead_lettered = TriggerSignal()
step_completed = TriggerSignal()
step_failed = TriggerSignal()
event_received = TriggerSignal()
queue_paused = TriggerSignal()
queue_resumed = TriggerSignal()

SIGNALS: dict[Topic, TriggerSignal] = {
    Topic.RUN_CREATED: run_created,
    Topic.RUN_STARTED: run_started,
    Topic.RUN_SUSPENDED: run_suspended,
    Topic.RUN_RESUMED: run_resumed,
    Topic.RUN_RETRYING: run_retrying,
    Topic.RUN_COMPLETED: run_completed,
    Topic.RUN_FAILED: run_failed,
    Topic.RUN_CANCELED: run_canceled,
    Topic.RUN_EXPIRED: run_expired,
    Topic.RUN_TIMED_OUT: run_timed_out,
    Topic.RUN_DEAD_LETTERED: run_dead_lettered,
    Topic.STEP_COMPLETED: step_completed,
    Topic.STEP_FAILED: step_failed,
    Topic.EVENT_RECEIVED: event_received,
    Topic.QUEUE_PAUSED: queue_paused,
    Topic.QUEUE_RESUMED: queue_resumed,
}


class DjangoListeners:
    """Implements :class:`~trigger_celery.vocabulary.news.Listeners` with these signals."""

    def wants(self, topic: Topic) -> bool:
        """Whether the signal has any receiver."""
        return bool(SIGNALS[topic].receivers)

    def send(self, topic: Topic, news: News) -> None:
        """Send the signal; Django logs what a receiver raises.

        A receiver is the project's code: it may do more than the request that caused the news.
        """
        sender = news.name if isinstance(news, EventNews | QueueNews) else news.task
        with acting(PLAIN_CODE):
            SIGNALS[topic].send_robust(_names.get(sender, sender), news=news)


_names: dict[str, str] = {}
"""The names that receivers are connected to: Django compares senders by their identity."""


def _sender(sender: object | None) -> object | None:
    name = sender if isinstance(sender, str) else getattr(sender, "name", sender)
    return _names.setdefault(name, name) if isinstance(name, str) else name
