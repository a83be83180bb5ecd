"""The sweep nudges queued runs again whose messages are lost, not those that wait in line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from trigger_celery.config import Config
from trigger_celery.engine.core import NullDispatcher
from trigger_celery.testing import Harness
from trigger_celery.vocabulary import lifecycle
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState

SECOND = timedelta(seconds=1)
DUE = datetime(2026, 1, 1, tzinfo=UTC)


class Broker(NullDispatcher):
    """A queue of messages, of which ``keep`` says by number which arrive."""

    def __init__(self, keep: Callable[[int], bool] = lambda number: True) -> None:
        self.waiting: deque[UUID] = deque()
        self.published = 0
        self._keep = keep

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        for nudge in nudges:
            self.published += 1
            if self._keep(self.published):
                self.waiting.append(nudge.run_id)

    def backlog(self, nudge: Nudge) -> int | None:
        return len(self.waiting)


class Silent(Broker):
    """One that does not say how much waits."""

    def backlog(self, nudge: Nudge) -> int | None:
        return None


def short() -> int:
    return 1


def live(harness: Harness, broker: Broker, seconds: int, *, arrive: int = 0, work: int = 0) -> None:
    """Let seconds pass with arrivals, workers that take messages, and a sweep in each."""
    task = harness.task(short, name="short")
    for _ in range(seconds):
        for _ in range(arrive):
            harness.trigger(task)
        for _ in range(min(work, len(broker.waiting))):
            harness.execute(broker.waiting.popleft())
        harness.advance(SECOND)
        harness.sweep()


def states(harness: Harness) -> set[RunState]:
    return {row.run.state for row in harness.memory._core.tables.runs.values()}


def test_runs_that_wait_through_an_outage_are_not_nudged_again(harness: Harness) -> None:
    harness.engine.dispatcher = broker = Broker()
    live(harness, broker, 40, arrive=10)
    live(harness, broker, 60, arrive=10, work=25)
    assert broker.published <= 1.1 * 1000
    live(harness, broker, 20, work=25)
    assert states(harness) == {RunState.COMPLETED}
    assert not broker.waiting


def test_all_runs_end_though_all_first_messages_are_lost(harness: Harness) -> None:
    harness.engine.dispatcher = broker = Broker(lambda number: number > 30)
    live(harness, broker, 3, arrive=10)
    live(harness, broker, 3 * 10, work=20)
    assert states(harness) == {RunState.COMPLETED}


def test_all_runs_end_where_the_broker_does_not_say_what_waits(harness: Harness) -> None:
    harness.engine.dispatcher = broker = Silent(lambda number: number > 30)
    live(harness, broker, 3, arrive=10)
    live(harness, broker, 3 * 10, work=20)
    assert states(harness) == {RunState.COMPLETED}


def test_a_lost_message_among_others_is_made_up_for(harness: Harness) -> None:
    harness.engine.dispatcher = broker = Broker(lambda number: number != 50)
    live(harness, broker, 40, arrive=10, work=8)
    assert broker.published == 400 + 1


def test_a_pass_nudges_no_more_runs_again_than_a_batch() -> None:
    with Harness(config=Config(sweep_batch=5)) as harness:
        harness.engine.dispatcher = broker = Broker(lambda number: number > 20)
        task = harness.task(short, name="short")
        for _ in range(20):
            harness.trigger(task)
        harness.advance(harness.config.nudge_interval)
        harness.sweep()
        assert len(broker.waiting) == 5


@pytest.mark.parametrize(
    ("reached", "passed", "backlog", "lost"),
    [
        (DUE, DUE, 9, True),
        (DUE - SECOND, DUE, 9, False),
        (DUE - SECOND, DUE, 0, True),
        (DUE - SECOND, DUE, None, False),
        (None, None, None, True),
        (None, None, 9, False),
        (None, DUE + lifecycle.LONGEST_PAUSE, 9, True),
        (None, DUE + lifecycle.LONGEST_PAUSE - SECOND, 9, False),
    ],
)
def test_a_message_is_lost_if_later_ones_arrived_or_none_waits(
    reached: datetime | None, passed: datetime | None, backlog: int | None, lost: bool
) -> None:
    found = lifecycle.is_nudge_lost(DUE, reached=reached, passed=passed, backlog=backlog)
    assert found is lost
