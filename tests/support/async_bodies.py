"""Steps and calls that tests of async bodies share; each test begins with an empty log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from trigger_celery.backoff import RetryPolicy
from trigger_celery.body.steps import step
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

LOG: list[object] = []
NOW = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


async def fetch(number: int) -> int:
    LOG.append(number)
    return number


@step
async def charge(number: int) -> int:
    LOG.append(f"charge {number}")
    await asyncio.sleep(0)
    return number


@step
def write(number: int) -> Any:
    LOG.append(f"write {number}")
    return number


def finished(harness: Harness, body: Any, *args: object, **options: Any) -> Any:
    run_id = harness.trigger(harness.task(body, name="task", **options), *args)
    harness.run_until_idle()
    return harness.result(run_id)


def last_run(harness: Harness) -> Any:
    return harness.run(harness.dispatcher.nudges[-1].run_id)


def failure_of(harness: Harness, body: Any, **options: Any) -> str:
    run_id = harness.trigger(harness.task(body, name="task", **options))
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.FAILED
    return harness.stored(run_id).error or ""
