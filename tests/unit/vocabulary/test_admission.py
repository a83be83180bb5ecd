"""Which runs get a slot: limits at a time, and rates that neither drift nor hoard."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trigger_celery.vocabulary.admission import Gate, KeyOf, Room
from trigger_celery.vocabulary.records import EVERYTHING, Limits, Rate, Standing

START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ODD = timedelta(microseconds=333_337)
PROFILE = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def run(queue: str = "q", *, key: str = "", task: str = "t", starts: bool = True) -> Standing:
    return Standing(run_id=UUID(int=1), queue=queue, key=key, task=task, starts=starts)


def gate(name: str = "q", *, paused: bool = False, **limits: int | Rate) -> Gate:
    return Gate(name=name, limits=Limits(**limits), paused=paused)  # type: ignore[arg-type]


def room(*gates: Gate, held: Iterable[Standing] = ()) -> Room:
    return Room(gates, held=held, now=START)


class Claims:
    """A queue with a rate, asked at one time after the other, as claims do."""

    def __init__(self, rate: Rate) -> None:
        self.gate = gate(rate=rate)
        self.due: dict[KeyOf, datetime] = {}
        self.again_in: timedelta | None = None

    def ask(self, at: datetime) -> bool:
        found = Room([self.gate], due=self.due, now=at)
        taken = found.take(run())
        self.due = found.due
        self.again_in = found.again_in
        return taken


def started(rate: Rate, times: Iterable[datetime]) -> list[datetime]:
    claims = Claims(rate)
    return [at for at in times if claims.ask(at)]


def every(step: timedelta, count: int, start: datetime = START) -> list[datetime]:
    return [start + step * number for number in range(count)]


def test_a_run_meets_the_deployment_its_task_and_its_queue_in_one_order() -> None:
    assert run("zz", task="t").gates == (EVERYTHING, "task/t", "zz")
    assert run("a", task="t").gates == (EVERYTHING, "a", "task/t")
    assert run("task/t", task="t").gates == (EVERYTHING, "task/t")


@pytest.mark.parametrize("name", [EVERYTHING, "q", "task/t"])
def test_no_more_than_a_limit_get_a_slot(name: str) -> None:
    found = room(gate(name, concurrency=3), held=[run()])
    assert [found.take(run()) for _ in range(4)] == [True, True, False, False]


def test_a_run_in_line_for_its_task_counts_once() -> None:
    found = room(gate("task/t", concurrency=2))
    assert [found.take(run("task/t")) for _ in range(3)] == [True, True, False]


def test_all_limits_hold_at_once() -> None:
    found = room(gate(EVERYTHING, concurrency=3), gate("q", concurrency=2, key_concurrency=1))
    assert found.take(run(key="a"))
    assert not found.take(run(key="a"))
    assert found.take(run(key="b"))
    assert not found.take(run(key="c"))
    assert found.take(run("other"))
    assert not found.take(run("other"))


def test_a_limit_of_each_key_says_nothing_of_runs_without_a_key() -> None:
    found = room(gate(key_concurrency=1), held=[run(key="a"), run()])
    assert not found.take(run(key="a"))
    assert [found.take(run()) for _ in range(3)] == [True] * 3
    assert found.take(run(key="b"))


def test_a_key_of_one_queue_is_none_of_anothers() -> None:
    found = room(gate(key_concurrency=1), gate("other", key_concurrency=1), held=[run(key="a")])
    assert found.take(run("other", key="a"))


def test_runs_that_hold_slots_leave_less_room() -> None:
    found = Room(
        [gate(concurrency=3, key_concurrency=2)],
        counts={("q", ""): 2, ("q", "a"): 2},
        now=START,
    )
    assert [found.take(run(key=key)) for key in "abb"] == [False, True, False]


@pytest.mark.parametrize("shut", [gate(paused=True), gate(concurrency=0), gate(key_concurrency=0)])
def test_no_run_gets_a_slot_where_nothing_may_start(shut: Gate) -> None:
    found = room(shut)
    assert not found.take(run(key="a"))
    assert found.again_in is None


def test_a_refusal_changes_nothing() -> None:
    found = room(gate(concurrency=1, rate=Rate(interval=SECOND)), gate(EVERYTHING, concurrency=0))
    assert not found.take(run())
    assert (found.due, found.changed, found.again_in) == ({}, set(), None)


def test_a_rate_spaces_starts_evenly() -> None:
    starts = started(Rate(interval=SECOND), every(SECOND / 10, 100))
    assert starts == every(SECOND, 10)


def test_a_burst_starts_at_once_and_the_rest_evenly() -> None:
    starts = started(Rate(interval=SECOND, burst=4), every(SECOND / 10, 50))
    assert starts[:4] == [START, *every(SECOND / 10, 3, START + SECOND / 10)]
    assert starts[4:] == every(SECOND, 4, START + SECOND)


def test_idle_time_gives_back_a_burst_and_no_more() -> None:
    claims = Claims(Rate(interval=SECOND, burst=3))
    assert [claims.ask(START) for _ in range(4)] == [True, True, True, False]
    later = START + SECOND * 1_000_000
    assert [claims.ask(later) for _ in range(4)] == [True, True, True, False]
    assert [claims.ask(later + SECOND * 2) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("burst", [1, 7])
def test_ten_thousand_starts_are_exactly_on_time(burst: int) -> None:
    claims, now = Claims(Rate(interval=ODD, burst=burst)), START
    for number in range(10_000):
        while not claims.ask(now):
            assert claims.again_in is not None
            now += claims.again_in
        assert now == START + ODD * max(0, number - burst + 1)


@PROFILE
@given(
    burst=st.integers(1, 5),
    gaps=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60),
)
def test_no_stretch_of_time_has_more_starts_than_burst_and_rate_allow(
    burst: int, gaps: list[int]
) -> None:
    now, times = START, [START]
    for gap in gaps:
        now += timedelta(microseconds=gap)
        times.append(now)
    starts = started(Rate(interval=SECOND, burst=burst), times)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            allowed = burst + (starts[last] - starts[first]) // SECOND
            assert last - first + 1 <= allowed


@PROFILE
@given(
    burst=st.integers(1, 4),
    gaps=st.lists(st.integers(0, 2_000_000), max_size=30),
)
def test_a_refused_run_learns_the_first_moment_at_which_it_may_start(
    burst: int, gaps: list[int]
) -> None:
    claims, now = Claims(Rate(interval=SECOND, burst=burst)), START
    for gap in gaps:
        now += timedelta(microseconds=gap)
        if claims.ask(now):
            assert claims.again_in is None
            continue
        again_in = claims.again_in
        assert again_in is not None
        assert timedelta(0) < again_in <= SECOND
        assert not claims.ask(now + again_in - timedelta(microseconds=1))
        now += again_in
        assert claims.ask(now)


def test_each_key_has_a_rate_of_its_own() -> None:
    found = room(gate(key_rate=Rate(interval=SECOND)))
    assert [found.take(run(key=key)) for key in ("a", "a", "b", "", "")] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert found.changed == {("q", "a"), ("q", "b")}
    assert found.again_in == SECOND


def test_several_rates_hold_at_once_and_a_refused_start_counts_for_none() -> None:
    found = Room(
        [
            gate(EVERYTHING, rate=Rate(interval=SECOND)),
            gate(rate=Rate(interval=SECOND * 5, burst=2)),
        ],
        due={("q", ""): START + SECOND * 7},
        now=START,
    )
    assert not found.take(run())
    assert found.again_in == SECOND * 2
    assert (found.due, found.changed) == ({("q", ""): START + SECOND * 7}, set())
    assert found.take(run("other"))
    assert found.due[EVERYTHING, ""] == START + SECOND


def test_the_first_rate_that_allows_a_start_sets_when_to_ask_again() -> None:
    found = Room(
        [gate(key_rate=Rate(interval=SECOND))],
        due={("q", "a"): START + SECOND * 9, ("q", "b"): START + SECOND * 3},
        now=START,
    )
    assert [found.take(run(key=key)) for key in "ab"] == [False, False]
    assert found.again_in == SECOND * 3


def test_a_run_that_started_before_needs_a_slot_but_counts_no_start() -> None:
    found = room(gate(concurrency=2, rate=Rate(interval=SECOND)))
    assert found.take(run())
    assert found.take(run(starts=False))
    assert not found.take(run(starts=False))
    assert found.due == {("q", ""): START + SECOND}
