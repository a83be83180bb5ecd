"""``drain()`` carries the runs of the project's database to their end inside a test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from trigger_celery import RetryPolicy, durable_task, get_run, sleep
from trigger_celery.errors import UsageError
from trigger_celery.testing import Harness
from trigger_celery_django.testing import drain

pytestmark = pytest.mark.django_db


@durable_task(bind=True, name="drained-two", retry=RetryPolicy(max_attempts=2))
def two(self: Any, order_id: int = 0) -> list[Any]:
    if self.request.retries == 0:
        self.retry(countdown=30)
    sleep(timedelta(days=3))
    return [order_id, self.request.id, self.request.retries, self.request.args]


@durable_task(bind=True, name="drained-one")
def one(self: Any, order_id: int) -> Any:
    return two.trigger_and_wait(order_id + 1)


def test_bound_tasks_get_their_self_and_children_are_known() -> None:
    result = one.delay(7)
    drain(timedelta(days=2))
    assert get_run(result.id).state == "suspended"
    drain()
    [order_id, child, retries, args] = get_run(result.id).output
    assert (order_id, retries, args) == (8, 1, [8])
    assert get_run(child).parent_id == get_run(result.id).id


def test_an_argument_that_is_left_out_is_not_taken_for_self() -> None:
    result = two.delay()
    drain()
    assert get_run(result.id).output == [0, result.id, 1, []]


def test_the_runs_of_a_harness_are_not_in_the_database() -> None:
    with Harness(), pytest.raises(UsageError, match="in Django's database"):
        drain()
