"""Schedules that code creates, runs, backfills and changes, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from support.timetables import DAY, HOUR, START, hold, note, record, row, runs, seen, tick
from trigger_celery import (
    backfill,
    create_schedule,
    delete_schedule,
    durable_task,
    every,
    pause_schedule,
    resume_schedule,
    run_schedule,
    sleep,
)
from trigger_celery.errors import (
    DeclarationError,
    EncodeError,
    InvalidName,
    InvalidOption,
    InvalidSchedule,
    InvalidTime,
    ScheduleNotFound,
    UnknownTask,
)
from trigger_celery.testing import Harness


def test_code_creates_a_schedule_and_changes_it_under_its_key(harness: Harness) -> None:
    task = durable_task(name="tests.schedules.note")(note)
    harness.engine.tasks.add(task.durable)
    assert create_schedule(task, key="tenant-7", every=HOUR, args=["seven"]) is True
    tick(harness, HOUR)
    assert seen == ["seven"]
    assert create_schedule(task, key="tenant-7", every=HOUR, args=["eight"]) is False
    assert len(harness.memory.schedules.all()) == 1
    tick(harness, HOUR)
    assert seen == ["seven", "eight"]
    assert delete_schedule("tenant-7") is True
    assert delete_schedule("tenant-7") is False
    tick(harness, HOUR)
    assert len(seen) == 2
    harness.engine.tasks.remove(task.durable.name)


def test_a_schedule_appears_or_vanishes_with_the_callers_transaction(harness: Harness) -> None:
    harness.task(note)

    def fail() -> None:
        with harness.memory.transaction():
            create_schedule("note", key="k", every=HOUR)
            assert pause_schedule("k") is True
            assert run_schedule("k") is not None
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert list(harness.memory.schedules.all()) == []
    assert runs(harness) == []
    with harness.memory.transaction():
        create_schedule("note", key="k", every=HOUR)
        run_schedule("k")
    tick(harness)
    assert seen == ["ran"]


def test_in_a_body_these_calls_are_steps(harness: Harness) -> None:
    def plan() -> UUID:
        create_schedule("note", key="k", every=HOUR)
        run_id: UUID = run_schedule("k")
        sleep(1)
        return run_id

    harness.task(note)
    run_id = harness.trigger(harness.task(plan))
    harness.run_until_idle()
    assert harness.steps(run_id) == {
        "create_schedule": True,
        "run_schedule": harness.result(run_id),
    }
    assert seen == ["ran"]


def test_running_a_schedule_now_leaves_its_times_alone(harness: Harness) -> None:
    harness.task(record, schedule=every(DAY))
    tick(harness)
    before = row(harness, "record")
    pause_schedule("record")
    run_id = run_schedule("record")
    tick(harness)
    assert seen[0].nominal_at == harness.clock.now
    after = row(harness, "record")
    assert (after.next_at, after.last_at) == (before.next_at, before.last_at)
    assert after.last_run_id == run_id


def test_a_backfill_starts_what_never_ran_and_nothing_twice(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR))
    tick(harness)
    tick(harness, HOUR)
    pause_schedule("note")
    tick(harness, 5 * HOUR)
    begin = datetime(2026, 3, 27, 11, tzinfo=UTC)
    started = backfill("note", begin, begin + 4 * HOUR)
    assert [each.hour for each in started] == [11, 13, 14]  # at 12 it ran
    tick(harness)
    assert len(seen) == 4
    assert backfill("note", begin, begin + 4 * HOUR) == []


@pytest.mark.parametrize(
    ("start", "end", "error"),
    [
        (START - DAY, START + 60 * DAY, InvalidOption),
        (START, START - DAY, InvalidOption),
        (START - 800 * DAY, START, InvalidOption),
        (START.replace(tzinfo=None) - DAY, START, InvalidTime),
    ],
)
def test_a_backfill_that_makes_no_sense_is_refused(
    harness: Harness, start: datetime, end: datetime, error: type[Exception]
) -> None:
    harness.task(note, schedule=every(HOUR))
    tick(harness)
    with pytest.raises(error):
        backfill("note", start, end)
    assert runs(harness) == []


@pytest.mark.parametrize(
    "call",
    [pause_schedule, resume_schedule, run_schedule, lambda key: backfill(key, START - DAY, START)],
)
def test_a_schedule_that_is_not_there_is_named(harness: Harness, call: Callable[..., Any]) -> None:
    with pytest.raises(ScheduleNotFound, match="'nightly'"):
        call("nightly")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cron": "0 0 30 2 *"}, InvalidSchedule),
        ({"cron": "0 9 * * *", "tz": "Mars/Olympus"}, InvalidSchedule),
        ({"cron": "0 9 * * *", "every": HOUR}, InvalidSchedule),
        ({}, InvalidSchedule),
        ({"every": HOUR, "overlap": "queue"}, InvalidSchedule),
        ({"every": HOUR, "args": "text"}, InvalidSchedule),
        ({"every": HOUR, "catch_up": -1}, InvalidTime),
        ({"every": HOUR, "args": [1, 2, 3]}, TypeError),
        ({"every": HOUR, "args": [object()]}, EncodeError),
        ({"every": HOUR, "key": "k" * 201}, InvalidName),
        ({"every": HOUR, "task": "undeclared"}, UnknownTask),
    ],
)
def test_a_bad_schedule_is_refused_before_anything_is_written(
    harness: Harness, options: dict[str, Any], error: type[Exception]
) -> None:
    harness.task(note)
    with pytest.raises(error):
        create_schedule(**{"task": "note", "key": "k", **options})
    assert list(harness.memory.schedules.all()) == []


def test_a_bad_declaration_is_refused_at_once(harness: Harness) -> None:
    with pytest.raises(DeclarationError, match="cron"):
        harness.task(note, schedule="0 9 * * *")
    with pytest.raises(DeclarationError, match="too many positional"):
        harness.task(note, schedule=every(HOUR, args=[1, 2]))
    with pytest.raises(DeclarationError, match="two schedules"):
        harness.task(note, schedule=[every(HOUR, key="k"), every(DAY, key="k")])


def test_the_key_of_a_declared_schedule_is_taken(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.task(note, schedule=every(HOUR))
    tick(harness)
    with pytest.raises(InvalidSchedule, match="in the code of task 'note'"):
        create_schedule("note", key="note", every=DAY)
    with pytest.raises(InvalidSchedule, match="would come back"):
        delete_schedule("note")
    create_schedule("note", key="hold", every=DAY)
    harness.task(hold, schedule=every(HOUR))
    tick(harness)
    assert "delete that one" in caplog.text
    assert row(harness, "hold").task == "note"
