"""Of any number of sweepers one sweeps; the others stand by, and one of them takes over."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from trigger_celery.config import Config
from trigger_celery.engine.core import NullDispatcher
from trigger_celery.engine.process.skew import clock_skew
from trigger_celery.engine.upkeep import sweep as passes
from trigger_celery.engine.upkeep import sweeper as sweepers
from trigger_celery.engine.upkeep.sweeper import IN_VAIN, LEAST_PAUSE, SPARE, Sweeper
from trigger_celery.errors import StoreUnavailable
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Nudge

SECOND = timedelta(seconds=1)
TURN = timedelta(seconds=5)
"""How long a turn lasts with the default interval."""


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect one word for each pass."""
    done: list[str] = []

    def sweep(*args: object) -> int:
        done.append("pass")
        return 0

    monkeypatch.setattr(sweepers, "sweep", sweep)
    return done


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the time of the harness."""
    monkeypatch.setattr(sweepers, "clock_skew", lambda now: clock_skew(now, now))


class Turns:
    """Stops a loop after so many turns, and lets the store's time pass between them."""

    def __init__(self, harness: Harness, turns: int) -> None:
        self.pauses: list[float] = []
        self._harness, self._turns = harness, turns

    def wait(self, timeout: float) -> bool:
        self.pauses.append(timeout)
        self._harness.advance(timedelta(seconds=timeout))
        return len(self.pauses) >= self._turns


def test_one_of_two_sweeps_and_the_other_follows_when_it_dies(
    harness: Harness, swept: list[str]
) -> None:
    first, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    assert first.turn() == 1.0
    assert second.turn() == SPARE
    assert swept == ["pass"]
    harness.advance(TURN - SECOND)
    assert second.turn() == 1.0
    assert swept == ["pass"]
    harness.advance(SECOND)
    second.turn()
    assert swept == ["pass", "pass"]
    assert second.whose == second.name


def test_a_sweeper_keeps_its_turn_while_it_works(harness: Harness, swept: list[str]) -> None:
    first, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    for _ in range(30):
        harness.advance(timedelta(seconds=first.turn()))
        second.turn()
    assert second.whose == first.name
    assert len(swept) == 30


def test_a_sweeper_that_lost_its_turn_sweeps_no_more(harness: Harness, swept: list[str]) -> None:
    hung, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    hung.turn()
    harness.advance(2 * TURN)
    second.turn()
    assert hung.turn() > 0
    assert hung.whose == second.name
    assert swept == ["pass", "pass"]


def test_the_loop_ends_when_it_is_stopped_and_hands_its_turn_over(
    harness: Harness, swept: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    stop = Turns(harness, 3)
    with caplog.at_level(logging.INFO, "trigger_celery.sweep"):
        first.run(stop)
        second.turn()
    assert stop.pauses == [1.0, 1.0, 1.0]
    assert swept == ["pass"] * 4
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"sweeper {first.name} starts",
        f"sweeper {first.name} sweeps from now on",
        f"sweeper {second.name} sweeps from now on",
    ]


def test_one_pass_is_left_out_while_another_sweeps(harness: Harness, swept: list[str]) -> None:
    first, once = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "trigger_sweep")
    assert once.once() == 0
    first.turn()
    assert once.once() is None
    assert once.whose == first.name
    assert swept == ["pass", "pass"]


def test_an_outage_is_logged_once_and_the_sweep_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def answers() -> Iterator[Exception | None]:
        yield from [None, StoreUnavailable("away"), StoreUnavailable("away"), None]
        yield from [ValueError("a mistake")] * 2

    turns = answers()

    def sweep(*args: object) -> int:
        error = next(turns)
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(sweepers, "sweep", sweep)
    sweeper = Sweeper(harness.engine, "beat")
    with caplog.at_level(logging.INFO, "trigger_celery.sweep"):
        pauses = [sweeper.turn() for _ in range(6)]
    assert pauses == [1.0, 4.0, 4.0, 1.0, 4.0, 4.0], "another may take the turn meanwhile"
    assert [record.levelname for record in caplog.records if "sweep" in record.getMessage()] == [
        *("INFO", "WARNING", "INFO", "ERROR"),
    ]


def test_a_sweeper_whose_passes_fail_is_followed_by_one_whose_passes_do_not(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    passes_of: list[str] = []

    def sweep(*args: object) -> int:
        passes_of.append("pass")
        if second.whose != second.name:
            raise StoreUnavailable("a table that only the first one cannot read")
        return 0

    monkeypatch.setattr(sweepers, "sweep", sweep)
    pause = first.turn()
    assert second.turn() == 1.0
    harness.advance(timedelta(seconds=pause))
    assert first.turn() <= SPARE
    assert (first.whose, len(passes_of)) == (second.name, 2)


class Refused(NullDispatcher):
    """One whose broker takes nothing."""

    def nudge(self, nudges: Sequence[Nudge]) -> None:
        self.refusals += bool(nudges)


def test_a_sweeper_that_can_publish_nothing_is_followed_by_one_that_can(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Sweeper(harness.engine, "beat"), Sweeper(harness.engine, "worker")
    dispatcher = harness.engine.dispatcher = Refused()
    nudge = Nudge(run_id=UUID(int=1), task="t", canvas="")
    nudges: list[Nudge] = []
    monkeypatch.setattr(sweepers, "sweep", lambda *args: dispatcher.nudge(nudges))

    def turns(count: int) -> set[str]:
        whose = set()
        for _ in range(count):
            harness.advance(timedelta(seconds=first.turn()))
            whose.add(first.whose)
        return whose

    nudges.append(nudge)
    assert turns(IN_VAIN - 1) == {first.name}
    dispatcher.refusals = 0  # one was published
    assert turns(IN_VAIN) == {first.name}
    nudges.clear()
    assert turns(3 * IN_VAIN) == {first.name}  # nothing is due
    nudges.append(nudge)
    pause = first.turn()
    assert "could publish nothing" in caplog.text
    assert second.turn() == 1.0
    assert second.whose == second.name
    harness.advance(timedelta(seconds=pause))
    first.turn()
    assert first.whose == second.name


def test_settings_that_make_no_sense_do_not_end_the_loop(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configure() -> Config:
        return Config.from_mapping({"SWEEP_INTERVAL": -1})

    monkeypatch.setattr(harness.engine, "configure", configure)
    assert Sweeper(harness.engine, "beat").turn() == 1.0


def test_a_pass_that_takes_longer_than_the_interval_is_followed_by_a_short_pause(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweepers, "sweep", lambda *args: harness.advance(3 * SECOND))
    assert Sweeper(harness.engine, "beat").turn() == LEAST_PAUSE


def test_what_makes_up_for_accidents_rests_ever_longer_and_timers_never(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def timers(engine: object, until: float) -> int:
        done.append("timers")
        return 0

    def repair(engine: object, until: float) -> int:
        done.append("repair")
        return len(done) == 7

    monkeypatch.setattr(passes, "DUTIES", (timers, repair))
    monkeypatch.setattr(passes, "BACKSTOPS", (repair,))
    sweeper = Sweeper(harness.engine, "beat")
    for _ in range(18):
        harness.advance(timedelta(seconds=sweeper.turn()))
    repaired = [done[:n].count("timers") - 1 for n, what in enumerate(done) if what == "repair"]
    assert done.count("timers") == 18
    assert repaired == [0, 1, 3, 4, 5, 7, 11, 16]


@pytest.mark.parametrize(("seconds", "says"), [(90, "90.0 s behind"), (-90, "90.0 s ahead of")])
def test_a_sweeper_that_starts_names_a_clock_that_differs_from_the_stores(
    harness: Harness,
    swept: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    says: str,
) -> None:
    ours = harness.clock.now + timedelta(seconds=-seconds)
    monkeypatch.setattr(sweepers, "clock_skew", lambda now: clock_skew(now, lambda: ours))
    Sweeper(harness.engine, "worker").run(Turns(harness, 3))
    assert caplog.text.count(f"the clock of this machine is {says} that of the database") == 1
