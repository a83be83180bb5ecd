"""A harness whose bodies start children and wait for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from trigger_celery import RetryPolicy, wait_for_event
from trigger_celery.body.children import Together
from trigger_celery.body.steps import primitive
from trigger_celery.client.starting import run_together
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import Request
from trigger_celery.testing import Harness

STILL = timedelta(0)


class Family(Harness):
    """A harness whose bodies start children of its own tasks."""

    def starts(self, task: TaskDefinition, **options: Any) -> Callable[..., Any]:
        """Return what starts one run of ``task`` and waits for it, as a body calls it."""
        chosen = TriggerOptions(**options.pop("options", {}))

        @primitive
        def start(*args: Any, **kwargs: Any) -> Any:
            request = Request(definition=task, args=args, kwargs=kwargs, options=chosen)
            how = Together(single=True, **options)
            return run_together(self.engine, task.name, [request], how, frame=sys._getframe(1))

        return start

    def starts_all(self, task: TaskDefinition, **options: Any) -> Callable[..., Any]:
        """Return what starts a run of ``task`` for each of the values and waits for all."""
        chosen = TriggerOptions(**options.pop("options", {}))

        @primitive
        def start(values: Any) -> Any:
            asked = [Request(definition=task, args=(value,), options=chosen) for value in values]
            how = Together(**options)
            return run_together(self.engine, task.name, asked, how, frame=sys._getframe(1))

        return start

    def wakes(self, run_id: UUID) -> int:
        """Return how often a run was woken."""
        return [entry.verb for entry in self.memory.runs.history(run_id)].count("wake")


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def gives_up(family: Family) -> TaskDefinition:
    return family.task(double, retry=RetryPolicy(max_attempts=1))


def waits_for_go(number: int) -> int:
    wait_for_event("go", filter={"to": number})
    return number


async def awaited(call: Any) -> Any:
    return await call
