"""Workers whose runs share one process: connections are few, and a run holds up no other."""

from __future__ import annotations

import pytest

from support.chaos import Stage
from testproject.chaos import crowd, hoarder

pytestmark = pytest.mark.chaos

SMALL = 4
"""How many connections Django's pool has by default."""


@pytest.fixture
def pooled(stage: Stage) -> Stage:
    """A stage whose workers take connections from Django's pool."""
    stage.django_pool = True
    return stage


def test_more_bodies_than_the_pool_has_connections_gather_and_end(pooled: Stage) -> None:
    [worker] = pooled.start("one", pool="threads", concurrency=2 * SMALL)
    runs = [pooled.trigger(crowd, 8) for _ in range(4 * SMALL)]
    pooled.settle()
    assert [pooled.result(run) for run in runs] == [28] * len(runs)
    assert {pooled.run(run).crashes for run in runs} == {0}
    assert worker.stop(within=30) == 0


def test_leases_are_renewed_while_bodies_hold_the_whole_pool(pooled: Stage) -> None:
    [worker] = pooled.start("one", pool="threads", concurrency=SMALL)
    runs = [pooled.trigger(hoarder, 5) for _ in range(SMALL)]  # a lease is two seconds
    pooled.settle()
    assert {(pooled.run(run).crashes, pooled.run(run).fence) for run in runs} == {(0, 1)}
    assert worker.stop(within=30) == 0


def test_a_worker_whose_pool_is_too_small_says_what_it_needs(pooled: Stage) -> None:
    [worker] = pooled.start("one", pool="threads", concurrency=2 * SMALL)
    pooled.wait_said(worker, "Set OPTIONS['pool'] to {'max_size': 8} or more")
