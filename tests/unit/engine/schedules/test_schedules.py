"""Schedules: declared and created, fired once for each nominal time, paused, backfilled."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from support.timetables import (
    DAY,
    HOUR,
    MINUTE,
    START,
    hold,
    nominal_of,
    note,
    record,
    row,
    runs,
    seen,
    states,
    tick,
    turn_back,
)
from trigger_celery import (
    cron,
    every,
    pause_schedule,
    resume_schedule,
)
from trigger_celery.client.access import install_engine
from trigger_celery.declare.definition import define
from trigger_celery.declare.schedule import timetable
from trigger_celery.engine.schedules.firing import fire
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.errors import (
    StoreUnavailable,
)
from trigger_celery.testing import Fault, FaultStore, Harness, SimulatedCrash
from trigger_celery.vocabulary.records import Overlap, Schedule
from trigger_celery.vocabulary.states import RunState


def test_a_declared_cron_starts_a_run_at_each_of_its_times(harness: Harness) -> None:
    weekdays = cron("0 9 * * MON-FRI", tz="Europe/Paris", args=["daily"])
    harness.task(note, schedule=weekdays)  # from a Friday at noon, over the change to summer
    tick(harness)
    assert seen == []
    for _ in range(4 * 24 * 4):
        tick(harness, 15 * MINUTE)
    assert seen == ["daily", "daily"]
    times = [run.created_at for run in runs(harness)]
    assert [time.astimezone(ZoneInfo("Europe/Paris")).strftime("%a %H:%M") for time in times] == [
        "Mon 09:00",
        "Tue 09:00",
    ]
    assert times[0].hour == 7


def test_an_interval_starts_a_run_at_each_multiple(harness: Harness) -> None:
    harness.task(note, schedule=every(timedelta(minutes=5)))
    tick(harness)
    for _ in range(31):
        tick(harness, MINUTE)
    assert len(seen) == 6
    assert row(harness, "note").last_at == datetime(2026, 3, 27, 11, 30, tzinfo=UTC)


def test_a_task_may_have_several_schedules(harness: Harness) -> None:
    morning, evening = cron("0 12 * * *", args=["noon"]), cron("0 13 * * *", args=["one"], key="pm")
    harness.task(note, schedule=[morning, evening])
    tick(harness)
    assert [each.key for each in harness.memory.schedules.all()] == ["note", "pm"]
    tick(harness, HOUR)
    tick(harness, HOUR)
    assert seen == ["noon", "one"]


def test_a_run_knows_its_nominal_the_last_and_the_next_times_on_each_replay(
    harness: Harness,
) -> None:
    daily = cron("0 6 * * *", tz="America/New_York", overlap="allow", catch_up=2 * HOUR)
    harness.task(record, schedule=daily)
    tick(harness)
    tick(harness, DAY)
    tick(harness, DAY)
    harness.run_until_idle(max_virtual_time=2 * HOUR)
    first, *_ = seen
    assert first.nominal_at == datetime(2026, 3, 28, 6, tzinfo=ZoneInfo("America/New_York"))
    assert (first.key, first.timezone, first.last_at) == ("record", "America/New_York", None)
    second = next(each for each in seen if each.last_at is not None)
    assert second.nominal_at - first.nominal_at == DAY
    assert second.last_at == first.nominal_at
    assert [each.isoformat() for each in second.upcoming] == [
        f"2026-{day}T06:00:00-04:00" for day in ("03-30", "03-31", "04-01", "04-02", "04-03")
    ]
    assert set(seen) == {first, second}  # each body ran once more after its sleep
    assert len(seen) > 2


def test_a_triggered_run_has_no_schedule(harness: Harness) -> None:
    harness.trigger(harness.task(record))
    harness.run_until_idle()
    assert set(seen) == {None}


def test_a_schedule_is_fired_late_within_a_minute_and_left_out_after_it(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.task(note, schedule=every(HOUR))
    tick(harness)
    tick(harness, HOUR + timedelta(seconds=10))  # ten seconds and half a minute late
    assert seen == ["ran"]
    with caplog.at_level(logging.WARNING, logger="trigger_celery.schedules"):
        tick(harness, 10 * HOUR + 3 * MINUTE)
    assert seen == ["ran"]
    assert "schedule 'note': nominal times from 2026-03-27T13:00:00+00:00" in caplog.text
    assert "were missed (10)" in caplog.text
    tick(harness, HOUR - 3 * MINUTE)
    assert seen == ["ran", "ran"]


def test_times_missed_within_the_catch_up_window_get_their_runs(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR, catch_up=3 * HOUR, overlap="allow"))
    tick(harness)
    tick(harness, 10 * HOUR)
    assert len(seen) == 3
    nominal = sorted(nominal_of(harness, run) for run in runs(harness))
    assert [each.hour for each in nominal] == [19, 20, 21]


@pytest.mark.parametrize("late", [2, 3, 4])
def test_a_nominal_time_exactly_on_the_horizon_of_the_catch_up_window_gets_its_run(
    harness: Harness, caplog: pytest.LogCaptureFixture, late: int
) -> None:
    harness.task(note, schedule=every(HOUR, catch_up=3 * HOUR, overlap="allow"))
    harness.sweep()
    noon = START.replace(hour=12, minute=0, second=0)
    harness.advance(noon - harness.clock.now + late * HOUR)
    harness.sweep()
    nominal = sorted(nominal_of(harness, run) for run in runs(harness))
    # The window is closed at both ends: now is an hour's start, and so is three hours ago.
    first = max(0, late - 3)
    assert nominal == [noon + number * HOUR for number in range(first, late + 1)]
    assert ("were missed" in caplog.text) == (late > 3)


@pytest.mark.parametrize("rule", [cron("0 12 * * *"), every(HOUR)], ids=["cron", "every"])
def test_a_schedule_that_is_due_now_fires_now_and_not_a_moment_before(
    harness: Harness, rule: Any
) -> None:
    moment = timedelta(microseconds=1)
    harness.task(note, schedule=rule)
    harness.sweep()
    harness.advance(START.replace(hour=12, minute=0, second=0) - moment - harness.clock.now)
    harness.sweep()
    assert runs(harness) == []
    harness.advance(moment)
    harness.sweep()
    [run] = runs(harness)
    assert nominal_of(harness, run) == harness.clock.now


def test_a_long_outage_is_made_up_for_in_bounded_pieces(harness: Harness) -> None:
    harness.task(note, schedule=every(MINUTE, catch_up=DAY, overlap="allow"))
    tick(harness)
    harness.advance(timedelta(minutes=250))
    counts = []
    for _ in range(4):
        harness.sweep()
        counts.append(len(runs(harness)))
    assert counts == [100, 200, 250, 250]


def test_skip_leaves_a_time_out_while_the_run_before_goes_on(harness: Harness) -> None:
    harness.task(hold, schedule=every(HOUR))
    tick(harness)
    tick(harness, HOUR)
    tick(harness, HOUR)
    assert seen == ["held"]
    harness.send_event("go on")
    tick(harness)
    tick(harness, HOUR)
    assert states(harness) == ["completed", "suspended"]


def test_allow_starts_a_run_beside_the_one_before(harness: Harness) -> None:
    harness.task(hold, schedule=every(HOUR, overlap="allow"))
    tick(harness)
    tick(harness, HOUR)
    tick(harness, HOUR)
    assert states(harness) == ["suspended", "suspended"]


def test_buffer_starts_one_run_as_soon_as_the_one_before_has_ended(harness: Harness) -> None:
    harness.task(hold, schedule=every(HOUR, overlap="buffer"))
    tick(harness)
    for _ in range(3):
        tick(harness, HOUR)
    assert states(harness) == ["suspended"]
    assert row(harness, "hold").buffered_at == datetime(2026, 3, 27, 13, tzinfo=UTC)
    harness.send_event("go on")
    tick(harness)
    tick(harness, timedelta(seconds=1))
    assert states(harness) == ["completed", "suspended"]
    assert row(harness, "hold").last_at == datetime(2026, 3, 27, 13, tzinfo=UTC)
    assert row(harness, "hold").buffered_at is None
    harness.send_event("go on")
    tick(harness, timedelta(seconds=1))
    assert states(harness) == ["completed", "completed"]


def test_cancel_cancels_the_run_before_and_starts_another(harness: Harness) -> None:
    harness.task(hold, schedule=every(HOUR, overlap="cancel"))
    tick(harness)
    tick(harness, HOUR)
    tick(harness, HOUR)
    assert states(harness) == ["canceled", "suspended"]
    assert "schedule 'hold' starts another run" in str(runs(harness)[0].error)


def test_a_sweep_that_was_overtaken_starts_no_run_beside_one_it_did_not_cancel(
    harness: Harness,
) -> None:
    harness.task(hold, schedule=every(HOUR, overlap="cancel"))
    tick(harness)
    harness.advance(HOUR)
    [read_long_ago] = harness.memory.schedules.due(limit=1)
    tick(harness)
    harness.advance(HOUR)
    fire(harness.engine, read_long_ago)
    assert states(harness) == ["suspended"]
    tick(harness)
    assert states(harness) == ["canceled", "suspended"]


def test_a_pause_survives_a_deployment_and_resuming_makes_up_for_nothing(
    harness: Harness,
) -> None:
    harness.task(note, schedule=every(HOUR, catch_up=DAY))
    tick(harness)
    assert pause_schedule("note") is True
    assert pause_schedule("note") is False
    harness.engine.tasks.remove("note")
    harness.task(note, schedule=every(timedelta(minutes=30), catch_up=DAY))  # the next version
    tick(harness, 5 * HOUR)
    assert seen == []
    assert row(harness, "note").every == timedelta(minutes=30)
    assert row(harness, "note").paused_at is not None
    assert resume_schedule("note") is True
    assert resume_schedule("note") is False
    tick(harness, timedelta(minutes=30))
    assert seen == ["ran"]


def test_a_changed_rule_counts_from_the_deployment_on(harness: Harness) -> None:
    harness.task(note, schedule=cron("0 12 * * *", catch_up=DAY))
    tick(harness)
    before = row(harness, "note")
    harness.engine.tasks.remove("note")
    harness.task(note, schedule=cron("0 10 * * *", catch_up=DAY, overlap="allow"))
    tick(harness)
    after = row(harness, "note")
    assert (after.id, after.overlap) == (before.id, Overlap.ALLOW)
    assert after.next_at == datetime(2026, 3, 28, 10, tzinfo=UTC)
    assert seen == []


def test_other_options_leave_the_next_time_as_it_is(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR, args=["a"]))
    tick(harness)
    before = row(harness, "note")
    harness.engine.tasks.remove("note")
    harness.task(note, schedule=every(HOUR, args=["b"]))
    tick(harness, HOUR)
    assert seen == ["b"]
    assert row(harness, "note").id == before.id


def test_a_schedule_that_its_task_no_longer_declares_is_removed(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR))
    harness.task(hold, schedule=every(HOUR))
    tick(harness)
    harness.engine.tasks.remove("note")
    tick(harness)
    assert [each.key for each in harness.memory.schedules.all()] == ["hold", "note"]
    harness.task(note)
    tick(harness)
    assert [each.key for each in harness.memory.schedules.all()] == ["hold"]


def test_a_schedule_may_move_to_another_task_but_belongs_to_one(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.task(note, schedule=every(HOUR, key="k"))
    harness.task(hold)
    tick(harness)
    for task in ("note", "hold"):
        harness.engine.tasks.remove(task)
    harness.task(note)
    harness.task(hold, schedule=every(HOUR, key="k"))
    tick(harness)
    assert row(harness, "k").task == "hold"
    harness.task(record, schedule=every(HOUR, key="k"))
    tick(harness)
    assert row(harness, "k").task == "hold"
    assert "that of 'hold' counts, that of 'record' is never fired" in caplog.text


def test_a_row_that_a_person_wrote_is_taken_up_and_a_bad_one_put_off(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.task(note)
    for key, rule in (("good", "0 12 * * *"), ("bad", "0 12 * *")):
        written = Schedule(
            id=UUID(int=len(key)), task="note", key=key, cron=rule, input="[[],{}]", due_at=START
        )
        harness.memory.schedules.add(written)
    tick(harness)
    assert row(harness, "good").next_at == datetime(2026, 3, 27, 12, tzinfo=UTC)
    assert "schedule 'bad' could not be fired" in caplog.text
    assert row(harness, "bad").due_at == START + MINUTE
    tick(harness, HOUR)
    assert seen == ["ran"]


def test_a_task_that_this_process_does_not_know_is_started_all_the_same(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR))
    tick(harness)
    definition = harness.engine.tasks.get("note")
    assert definition is not None
    harness.engine.tasks.remove("note")
    harness.advance(HOUR)
    harness.sweep()
    harness.engine.tasks.add(definition)
    tick(harness)
    assert seen == ["ran"]


def test_a_clock_that_goes_back_fires_nothing_twice(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR, overlap="allow"))
    tick(harness)
    tick(harness, HOUR)
    assert seen == ["ran"]
    turn_back(harness, 2 * HOUR)
    for _ in range(2):
        tick(harness, HOUR)
    assert seen == ["ran"]
    tick(harness, HOUR)
    assert seen == ["ran", "ran"]


def test_a_clock_that_jumps_ahead_fires_nothing_that_is_too_late(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR, catch_up=2 * HOUR, overlap="allow"))
    tick(harness)
    tick(harness, 365 * DAY)
    assert len(seen) == 2
    turn_back(harness, 365 * DAY)  # an operator sets it right: the times count from now on
    pause_schedule("note")
    resume_schedule("note")
    tick(harness, HOUR)
    assert len(seen) == 3


def test_the_times_of_the_schedule_do_not_keep_a_test_going(harness: Harness) -> None:
    harness.task(note, schedule=every(MINUTE))
    start = harness.clock.now
    harness.run_until_idle()
    assert harness.clock.now == start


def flow(plan: dict[int, Any], overlap: str) -> tuple[list[str], int]:
    """Live through four hours with one fault; return the nominal times and the calls made."""
    stores: list[FaultStore] = []

    def breaking(store: Any) -> FaultStore:
        stores.append(FaultStore(store, plan))
        return stores[0]

    with Harness(now=START, wrap=breaking) as harness:
        table = timetable(every=HOUR, catch_up=HOUR, overlap=overlap)
        harness.engine.tasks.add(define(note, name="note", schedule=table))
        for _ in range(5):
            for _ in range(3):  # the next sweep comes soon
                try:
                    harness.sweep()
                except SimulatedCrash:
                    stores[0].restart()
                except StoreUnavailable:
                    continue
            harness.clock.advance(HOUR)
        found = {nominal_of(harness, run): run.state for run in runs(harness)}
        assert len(found) == len(runs(harness))
        *before, last = (state for _, state in sorted(found.items()))
        wanted = RunState.CANCELED if overlap == "cancel" else RunState.QUEUED
        assert {*before} == {wanted}
        assert last is RunState.QUEUED
        return sorted(each.isoformat() for each in found), len(stores[0].calls)


@pytest.mark.parametrize("overlap", ["allow", "cancel"])
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.LOST_ACK, Fault.REFUSED])
def test_every_nominal_time_runs_once_wherever_a_sweep_dies(fault: Fault, overlap: str) -> None:
    golden, calls = flow({}, overlap)
    assert len(golden) == 4
    for number in range(calls):
        times, _ = flow({number: fault}, overlap)
        assert times == golden, number


def test_each_process_stores_a_declaration_once(harness: Harness) -> None:
    harness.task(note, schedule=every(HOUR))
    assert sync_declared(harness.engine) >= 1
    assert sync_declared(harness.engine) == 0
    with Harness(now=START) as other:
        install_engine(other.engine)
        assert sync_declared(other.engine) == 0
