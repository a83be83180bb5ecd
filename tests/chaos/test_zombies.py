"""A worker that is stopped for longer than its lease and wakes up finds its run gone."""

from __future__ import annotations

import pytest

from support.chaos import ALIAS, Stage
from testproject.chaos import zombie
from testproject.shop.models import Effect
from testproject.shop.tasks import plain_link
from trigger_celery_django.models import Checkpoint

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_a_zombie_writes_nothing_after_another_worker_took_its_run(
    stage: Stage, atomic: bool
) -> None:
    stage.start("one", "two", concurrency=1)
    stage.hold("a")
    run = stage.trigger(zombie, "a", atomic, link=plain_link.s())
    (line,) = stage.wait_effect("fenced 1")
    undead = stage.owner(line.pid)
    undead.freeze()
    stage.release("a")
    stage.wait_effect("link 2")
    stage.settle()
    before = stage.run(run)
    history = stage.verbs(run)

    undead.thaw()
    # The end of the step's body first, then the attempt to record it.
    stage.wait_effect("passed 1")
    stage.wait_said(undead, "its result was dropped")
    assert stage.run(run) == before
    assert stage.verbs(run) == history
    assert stage.result(run) == 2
    stage.check_counts(
        run,
        {"first": 1, "fenced 1": 1, "fenced 2": 1, "passed 1": 1, "passed 2": 1}
        | {"stored": 1, "last": 1},
    )
    assert stage.counts("-") == {"link 2": 1}
    fences = dict(Checkpoint.objects.using(ALIAS).filter(run=run).values_list("key", "fence"))
    assert sorted(fences.values()) == [1, 2, 2, 2]
    kept = Effect.objects.using(ALIAS).filter(run=str(run), step="fenced_atomic")
    assert list(kept.values_list("n", flat=True)) == ([2] if atomic else [])
    assert stage.celery_states(run) == ["SUCCESS"]
