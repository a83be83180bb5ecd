"""A worker that is stopped for longer than its lease and wakes up finds its run gone."""

from __future__ import annotations

from uuid import UUID

import pytest

from support.chaos import ALIAS, Stage
from support.worker_process import WorkerProcess
from testproject.chaos import zombie
from testproject.shop.tasks import plain_link
from trigger_celery_django.models import Checkpoint

pytestmark = pytest.mark.chaos


STEPS = pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
EXPECTED = {
    "first": 1,
    "fenced 1": 1,
    "passed 1": 1,
    "fenced 2": 1,
    "passed 2": 1,
    "stored": 1,
    "last": 1,
}


@STEPS
def test_a_zombie_writes_nothing_after_another_worker_finished_its_run(
    stage: Stage, atomic: bool
) -> None:
    run, undead = _zombie(stage, atomic)
    stage.wait_effect("link 2")
    stage.finish()
    before = stage.run(run)
    history = stage.verbs(run)

    stage.release("a-1")
    undead.thaw()
    # The end of the step's body first, then the attempt to record it.
    stage.wait_effect("passed 1")
    stage.wait_said(undead, "its result was dropped")
    assert stage.run(run) == before
    assert stage.verbs(run) == history
    _check(stage, run, atomic)


@STEPS
def test_a_zombie_does_not_record_the_step_that_another_worker_is_in(
    stage: Stage, atomic: bool
) -> None:
    stage.hold("a-2")
    run, undead = _zombie(stage, atomic)
    stage.wait_effect("fenced 2")

    stage.release("a-1")
    undead.thaw()
    stage.wait_said(undead, "its result was dropped")
    assert stage.run(run).fence == 2
    assert sorted(_fences(run)) == [1]
    stage.release("a-2")
    stage.finish()
    _check(stage, run, atomic)


def _zombie(stage: Stage, atomic: bool) -> tuple[UUID, WorkerProcess]:
    """Return a run and its worker, frozen in a step, with another worker that may take it."""
    stage.start("one", "two", concurrency=1)
    stage.hold("a-1")
    run = stage.trigger(zombie, "a", atomic, link=plain_link.s())
    (line,) = stage.wait_effect("fenced 1")
    undead = stage.owner(line.pid)
    undead.freeze()
    return run, undead


def _check(stage: Stage, run: UUID, atomic: bool) -> None:
    """The step had its effect twice, with two fences, and was recorded once."""
    stage.wait_effect("link 2")
    assert stage.result(run) == 2
    stage.check_counts(run, EXPECTED)
    assert stage.counts("-") == {"link 2": 1}
    assert sorted(_fences(run)) == [1, 2, 2, 2]
    assert stage.balance(run, "fenced_atomic") == ((1, 2) if atomic else (0, 0))
    assert stage.celery_states(run) == ["SUCCESS"]


def _fences(run: UUID) -> list[int]:
    """Return the fences under which the steps of the run were recorded."""
    return list(Checkpoint.objects.using(ALIAS).filter(run=run).values_list("fence", flat=True))
