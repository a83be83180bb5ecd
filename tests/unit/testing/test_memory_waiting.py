"""Places in line, as the store in memory gives them."""

from __future__ import annotations

from datetime import timedelta

from trigger_celery.testing import Harness
from trigger_celery.testing.contract.tools import admitted, enter
from trigger_celery.vocabulary.lifecycle import EARLIEST, LATEST, line_at
from trigger_celery.vocabulary.records import Limits


def test_no_place_is_before_the_beginning_of_time_or_after_its_end() -> None:
    assert line_at(EARLIEST + timedelta(days=1), 2**31 - 1) == EARLIEST
    assert line_at(EARLIEST + timedelta(seconds=9), 4) == EARLIEST + timedelta(seconds=5)
    assert line_at(LATEST - timedelta(days=1), -(2**31 - 1)) == LATEST


def test_of_two_runs_with_one_place_the_first_is_next(harness: Harness) -> None:
    store = harness.memory
    store.queues.declare({"emails": Limits(concurrency=9)})
    runs = [enter(store) for _ in range(9)]
    assert admitted(store) == runs
