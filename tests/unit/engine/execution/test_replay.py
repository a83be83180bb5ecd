"""Replays: which code changes a run under way survives, and how the others are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery.body.steps import step
from trigger_celery.body.values import now
from trigger_celery.body.waits import sleep
from trigger_celery.config import Config
from trigger_celery.engine.segment.replay import GAP, Replay
from trigger_celery.errors import DuplicateStepKey, NonDeterminismError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Outcome, Outcomes, StepKind
from trigger_celery.vocabulary.states import RunState

NOW = timedelta(0)
LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def call(name: str) -> str:
    def note() -> str:
        LOG.append(name)
        return name

    return step.run(name, note)


def version(harness: Harness, names: Iterable[str], act: Callable[[str], object] = call) -> Any:
    """Return a version of one task whose body makes these calls; ``~`` is a wait."""

    def body() -> None:
        for name in names:
            if name == "~":
                sleep(60)
            else:
                act(name)

    return harness.task(body, name="task")


def changed(harness: Harness, before: str, after: str) -> UUID:
    """Run one version to its wait, deploy the other, and let time pass."""
    run_id = harness.trigger(version(harness, before.split()))
    harness.run_until_idle(NOW)
    assert harness.run(run_id).state is RunState.SUSPENDED
    LOG.clear()
    version(harness, after.split())
    harness.run_until_idle()
    return run_id


@pytest.mark.parametrize(
    ("before", "after", "runs"),
    [
        ("a b ~ c", "a b ~ c", "c"),
        ("a b ~ c", "new a b ~ c", "new c"),
        ("a b ~ c", "a new b ~ c", "new c"),
        ("a b ~ c", "a b ~ c new", "c new"),
        ("a b ~ c", "b ~ c", "c"),
        ("a b ~ c", "a ~ c", "c"),
        ("a b ~ c", "~ c", "c"),
        ("a b ~ c", "a a b ~ c", "a c"),
        ("a b ~ c", "a b c", "c"),
    ],
)
def test_inserted_steps_run_and_removed_ones_are_ignored(
    harness: Harness, before: str, after: str, runs: str
) -> None:
    run_id = changed(harness, before, after)
    assert harness.stored(run_id).state is RunState.COMPLETED
    assert runs.split() == LOG


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("b a ~ c", "calls 'b' before 'a', but this run recorded 'a' before 'b'"),
        ("~ a b c", "calls 'sleep' before 'a', but this run recorded 'a' before 'sleep'"),
    ],
)
def test_another_order_fails_with_both_sides_named(
    harness: Harness, after: str, message: str
) -> None:
    run_id = changed(harness, "a b ~ c", after)
    run = harness.stored(run_id)
    assert run.state is RunState.FAILED
    assert run.attempt == 1  # no retries are burned
    assert "NonDeterminismError" in (run.error or "")
    assert message in (run.error or "")
    assert LOG == []


def test_another_kind_fails_with_both_sides_named(harness: Harness) -> None:
    run_id = harness.trigger(version(harness, ["now", "~"]))
    harness.run_until_idle(NOW)
    version(harness, ["now", "~"], lambda name: now())
    harness.run_until_idle()
    assert "'now' is a value in the code but a step in the record" in (
        harness.stored(run_id).error or ""
    )


def test_many_steps_may_be_inserted_and_replayed(harness: Harness) -> None:
    many = " ".join(f"n{number}" for number in range(60))
    run_id = harness.trigger(version(harness, ["a", "b", "~"]))
    harness.run_until_idle(NOW)
    for after in (f"a {many} ~ b ~", f"a {many} b ~ c ~ d"):
        LOG.clear()
        version(harness, after.replace("~ b", "b").split())
        harness.run_until_idle()
    assert harness.run(run_id).state is RunState.COMPLETED
    assert len(harness.steps(run_id)) == 62


def test_many_inserted_steps_replay_with_a_wait_between_them(harness: Harness) -> None:
    many = [f"n{number}" for number in range(40)]
    run_id = harness.trigger(version(harness, ["a", "~", "b"]))
    harness.run_until_idle(NOW)
    version(harness, ["a", *many[:20], *many[20:], "~", "b", "~", "c", "~", "d"])
    harness.run_until_idle()
    assert harness.run(run_id).state is RunState.COMPLETED
    assert set(LOG) == {"a", *many, "b", "c", "d"}
    assert len(LOG) == len(set(LOG))


def test_a_run_has_a_limit_of_steps() -> None:
    with Harness(config=replace(Config(), step_limit=5)) as harness:
        run_id = harness.trigger(version(harness, [f"s{number}" for number in range(9)]))
        harness.run_until_idle()
        assert "limit of 5 recorded calls at 's5'" in (harness.stored(run_id).error or "")
        assert len(LOG) == 5


def outcome(key: str, position: int, kind: StepKind = StepKind.STEP) -> Outcome:
    return Outcome(key=key, kind=kind, position=position, value="1")


def replaying(*outcomes: Outcome) -> Replay:
    return Replay(Outcomes(recorded={each.key: each for each in outcomes}), step_limit=99)


def test_new_calls_are_placed_between_recorded_ones() -> None:
    replay = replaying(outcome("a", GAP), outcome("b", 2 * GAP))
    first = replay.place("new", StepKind.STEP, None)
    assert 0 < first.position < GAP
    replay.place("a", StepKind.STEP, None)
    second = replay.place("new", StepKind.STEP, None)
    assert (second.key, second.outcome) == ("new#2", None)
    assert GAP < second.position < 2 * GAP
    replay.place("b", StepKind.STEP, None)
    assert replay.place("new", StepKind.STEP, None).position == 3 * GAP


def test_positions_stay_in_order_when_the_room_is_used_up() -> None:
    replay = replaying(outcome("z", GAP))
    places = [replay.place("new", StepKind.STEP, None).position for _ in range(60)]
    assert places == sorted(places)
    assert places[-1] <= GAP
    assert replay.place("z", StepKind.STEP, None).outcome is not None


def test_positions_of_a_long_run_fit_a_column() -> None:
    assert 10_000 * GAP < 2**63


def test_an_explicit_key_may_not_repeat_a_counted_one() -> None:
    replay = replaying()
    replay.place("a", StepKind.STEP, None)
    with pytest.raises(DuplicateStepKey, match="'a'"):
        replay.place("b", StepKind.STEP, "a")


def test_names_without_a_record_are_counted_too() -> None:
    replay = replaying()
    assert [replay.name_once("child") for _ in range(2)] == ["child", "child#2"]


def test_a_recorded_step_may_not_become_a_wait() -> None:
    with pytest.raises(NonDeterminismError, match="is a sleep in the code but a step"):
        replaying(outcome("a", GAP)).place("a", StepKind.SLEEP, None)
