"""Workers whose runs share one process: connections are few, and a run holds up no other."""

from __future__ import annotations

import pytest

from support.chaos import Stage
from testproject.chaos import async_crowd, crowd, hoarder, late, plain_count

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
    pooled.finish()
    assert [pooled.result(run) for run in runs] == [28] * len(runs)
    assert {pooled.run(run).crashes for run in runs} == {0}
    assert worker.stop(within=30) == 0


def test_leases_are_renewed_while_bodies_hold_the_whole_pool(pooled: Stage) -> None:
    [worker] = pooled.start("one", pool="threads", concurrency=SMALL)
    runs = [pooled.trigger(hoarder, 5) for _ in range(SMALL)]  # a lease is two seconds
    pooled.finish()
    assert {(pooled.run(run).crashes, pooled.run(run).fence) for run in runs} == {(0, 1)}
    assert worker.stop(within=30) == 0


def test_a_worker_whose_pool_is_too_small_says_what_it_needs(pooled: Stage) -> None:
    [worker] = pooled.start("one", pool="threads", concurrency=2 * SMALL)
    pooled.wait_said(worker, "Set OPTIONS['pool'] to {'max_size': 8} or more")


def test_async_bodies_beside_each_other_and_beside_plain_tasks_on_gevent(stage: Stage) -> None:
    [worker] = stage.start("one", pool="gevent", concurrency=20)
    runs = [stage.trigger(async_crowd, number) for number in range(12)]
    for _ in range(6):
        plain_count.delay()
    stage.finish()
    assert [stage.result(run) for run in runs] == [number + 10 for number in range(12)]
    assert {(stage.run(run).crashes, stage.run(run).attempt) for run in runs} == {(0, 1)}
    stage.wait_effect("plain", 6)
    assert not worker.said("SynchronousOnlyOperation")
    assert worker.stop(within=30) == 0


def test_a_step_that_waits_ends_at_its_timeout_on_gevent(stage: Stage) -> None:
    stage.start("one", pool="gevent", concurrency=4)
    runs = [stage.trigger(late, "slow") for _ in range(3)]
    stage.finish()
    assert [stage.result(run) for run in runs] == ["late"] * 3
    assert [stage.counts(run) for run in runs] == [{"slow": 1}] * 3


def test_a_step_that_computed_beyond_its_timeout_has_failed_on_gevent(stage: Stage) -> None:
    stage.start("one", pool="gevent", concurrency=4)
    run = stage.trigger(late, "busy")
    stage.finish()
    assert stage.result(run) == "late"
