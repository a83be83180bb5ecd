"""A run that enough promised runs follow leaves it to them to admit the next ones in line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.queue import Queue, queues
from trigger_celery.engine.queues.admission import LEFT_TO_OTHERS
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.admission import Gate, Room
from trigger_celery.vocabulary.records import EVERYTHING, Claim, Claimed, Limits, Standing

NAME = "followed"


@pytest.fixture
def followed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Let the store say that enough others follow."""
    claim = harness.memory.runs.claim

    def claim_followed(asked: Claim) -> Claimed | None:
        claimed = claim(asked)
        return None if claimed is None else replace(claimed, followed=True)

    monkeypatch.setattr(harness.memory.runs, "claim", claim_followed)
    return harness


def limited(harness: Harness, request: pytest.FixtureRequest, fn: Callable[..., Any]) -> Any:
    """Return a task in a queue for one run at a time."""
    task: TaskDefinition = harness.task(fn, queue=Queue(NAME, concurrency_limit=1))
    request.addfinalizer(lambda: queues.remove(NAME))
    sync_declared(harness.engine)
    return task


def nudged(harness: Harness) -> list[UUID]:
    """Return the runs that the dispatcher got nudges of since the last call."""
    found = [nudge.run_id for nudge in harness.dispatcher.nudges]
    harness.dispatcher.nudges.clear()
    return found


def test_the_next_is_let_in_a_moment_later(
    followed: Harness, request: pytest.FixtureRequest
) -> None:
    task = limited(followed, request, lambda: None)
    first, second = followed.trigger(task), followed.trigger(task)
    assert nudged(followed) == [first]
    followed.execute(first)
    assert nudged(followed) == []
    followed.clock.advance(LEFT_TO_OTHERS)
    followed.alarm.ring()
    assert nudged(followed) == [second]


def test_after_a_longer_segment_it_is_let_in_at_once(
    followed: Harness, request: pytest.FixtureRequest
) -> None:
    task = limited(followed, request, lambda: followed.clock.advance(LEFT_TO_OTHERS))
    first, second = followed.trigger(task), followed.trigger(task)
    nudged(followed)
    followed.execute(first)
    assert nudged(followed) == [second]


def test_an_end_does_not_repeat_the_admission_of_another(
    followed: Harness, request: pytest.FixtureRequest
) -> None:
    task = limited(followed, request, lambda: None)
    first, second = followed.trigger(task), followed.trigger(task)
    followed.execute(first)
    third = followed.trigger(task)  # asks for room too
    assert nudged(followed) == [first, second]
    followed.execute(second)
    followed.clock.advance(LEFT_TO_OTHERS / 2)
    assert followed.alarm.ring() == 0
    assert nudged(followed) == []
    followed.clock.advance(LEFT_TO_OTHERS / 2)
    followed.alarm.ring()
    assert nudged(followed) == [third]
    followed.clock.advance(LEFT_TO_OTHERS)
    assert followed.alarm.ring() == 0


def room(*limits: tuple[str, Limits]) -> Room:
    """Return the room that these limits of queues leave."""
    gates = [Gate(name=name, limits=each) for name, each in limits]
    return Room(gates, now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({NAME: Limits(concurrency=1)}, 2),
        ({NAME: Limits(concurrency=3)}, 2),
        ({NAME: Limits(concurrency=10)}, 5),
        ({NAME: Limits(concurrency=11)}, 6),
        ({NAME: Limits(concurrency=10), EVERYTHING: Limits(concurrency=6)}, 3),
        ({NAME: Limits(concurrency=10, key_concurrency=9)}, None),
        ({NAME: Limits()}, None),
    ],
)
def test_half_of_those_that_may_execute_are_enough(
    limits: dict[str, Limits], least: int | None
) -> None:
    run = Standing(run_id=uuid4(), queue=NAME, key="k", task="t", starts=True)
    found = room(*limits.items())
    enough = [count for count in range(20) if found.is_followed(run, count)]
    assert enough == ([] if least is None else list(range(least, 20)))


def test_a_moment_is_short() -> None:
    assert timedelta(seconds=1) >= LEFT_TO_OTHERS
