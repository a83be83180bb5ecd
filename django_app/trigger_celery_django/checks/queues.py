"""System checks of durable queues: limits that make no sense, contradict each other, or are 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celery import current_app
from django.core import checks
from django.core.checks import CheckMessage

from trigger_celery.config import Config
from trigger_celery.declare.declared_queues import declared_queues
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.declare.limits import ARGUMENTS
from trigger_celery.declare.queue import queues
from trigger_celery.errors import DeclarationError
from trigger_celery.vocabulary.records import EVERYTHING, Limits

Found = Iterator[CheckMessage]


def queue_problems(config: Config) -> Found:
    """Find what is wrong with the queues that this process and these settings declare."""
    try:
        declared = declared_queues(config, declared_tasks)
    except DeclarationError as error:
        hint = "See the page on durable queues: the limits have the names that Queue takes."
        yield checks.Error(str(error), hint=hint, id="trigger_celery.E010")
        return
    yield from _limits_declared_twice(declared)
    yield from _broker_queues(declared)
    yield from _stopped_queues(declared)


def _limits_declared_twice(declared: Mapping[str, Limits]) -> Found:
    for queue in queues:
        limits = declared.get(queue.name, queue.limits)
        differ = [k for k, v in ARGUMENTS.items() if getattr(limits, v) != getattr(queue.limits, v)]
        if differ:
            yield checks.Warning(
                f"Queue {queue.name!r} has one {', '.join(differ)} in code and another in "
                "TRIGGER_CELERY['QUEUES'].",
                hint="The settings win. Silence this check if that is what you want.",
                id="trigger_celery.W004",
            )


def _broker_queues(declared: Mapping[str, Limits]) -> Found:
    for task in declared_tasks:
        routed = getattr(current_app.tasks.get(task.name), "queue", None)
        if isinstance(routed, str) and routed in declared:
            yield checks.Warning(
                f"Durable task {task.name!r} has queue={routed!r}, a text: that is the broker's "
                "queue of its messages, and the durable queue of this name does not limit it.",
                hint="Give it the Queue itself, or call one of the two another name.",
                obj=task.fn,
                id="trigger_celery.W005",
            )


def _stopped_queues(declared: Mapping[str, Limits]) -> Found:
    for name, limits in declared.items():
        if limits.concurrency == 0:
            what = "The deployment" if name == EVERYTHING else f"Queue {name!r}"
            text = f"{what} is paused by its concurrency limit of 0: no run of it starts."
            hint = "'manage.py trigger_queues pause' does so without a deploy."
            yield checks.Info(text, hint=hint, id="trigger_celery.I001")
