"""What bodies of tests do to the outside, and the log of it, with which each test begins anew."""

from __future__ import annotations

from typing import Any

from trigger_celery.body.steps import step

LOG: list[Any] = []


@step
def charge(number: int) -> int:
    LOG.append(number)
    return number
