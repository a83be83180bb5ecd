"""Starts that a rate allows one after the other."""

from __future__ import annotations

from datetime import timedelta

from support.limited_tasks import MINUTE, SECOND, limited, nudged, work
from trigger_celery.declare.limits import RateLimit
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.engine.segment.outcome import NOT_CLAIMED
from trigger_celery.testing import (
    Harness,
    ManualAlarm,
)


def test_a_rate_is_kept_by_the_alarm_without_a_sweep(harness: Harness) -> None:
    task = limited(harness, rate_limit=RateLimit(6, per=MINUTE))
    first, second, third = (harness.trigger(task) for _ in range(3))
    assert nudged(harness) == [first]
    harness.execute(first)
    for next_run in (second, third):
        pause = harness.alarm.next_in()
        assert pause is not None
        assert timedelta(0) < pause <= timedelta(seconds=10)
        harness.advance(timedelta(seconds=10))
        assert harness.alarm.ring() == 1
        assert nudged(harness) == [next_run]
        harness.execute(next_run)
    harness.advance(MINUTE)
    harness.alarm.ring()
    assert harness.alarm.next_in() is None


def test_a_delayed_run_that_only_a_rate_refuses_waits_for_one_sweep_at_most(
    harness: Harness,
) -> None:
    task = limited(harness, rate_limit=RateLimit(6, per=MINUTE))
    late = trigger(harness.engine, task, options=TriggerOptions(delay=MINUTE))
    harness.advance(MINUTE)
    harness.execute(harness.trigger(task))
    harness.sweep()
    assert harness.execute(late) is NOT_CLAIMED
    nudged(harness)
    harness.advance(SECOND)
    harness.sweep()
    assert nudged(harness) == []
    assert harness.alarm.next_in() == 9 * SECOND
    harness.advance(9 * SECOND)
    harness.alarm.ring()
    assert nudged(harness) == [late]


def test_a_rate_goes_on_although_a_run_starts_later_than_it_was_let_in(harness: Harness) -> None:
    task = limited(harness, rate_limit=RateLimit(6, per=MINUTE))
    first, second = harness.trigger(task), harness.trigger(task)
    assert nudged(harness) == [first]
    harness.advance(4 * SECOND)
    harness.execute(first)  # only now the time of the next start is known
    harness.advance(6 * SECOND)
    assert harness.alarm.ring() == 1
    assert nudged(harness) == []
    assert harness.alarm.next_in() == 4 * SECOND
    harness.advance(4 * SECOND)
    harness.alarm.ring()
    assert nudged(harness) == [second]


def test_of_many_woken_processes_those_that_find_no_run_set_no_alarm(harness: Harness) -> None:
    task = limited(harness, rate_limit=RateLimit(6, per=MINUTE))
    for _ in range(9):
        harness.trigger(task)
    work(harness)
    for _ in range(2):
        assert harness.alarm.next_in() == 10 * SECOND
        harness.advance(10 * SECOND)
        _be_faster(harness)
        harness.alarm.ring()
    assert harness.alarm.next_in() is None


def _be_faster(harness: Harness) -> None:
    """Do in another process what the alarm of this one was to do."""
    ours, harness.engine.alarm = harness.engine.alarm, ManualAlarm(harness.clock)
    harness.sweep()
    work(harness)
    harness.engine.alarm = ours


def test_time_passes_for_the_harness_until_a_rate_allows_the_next(harness: Harness) -> None:
    task = limited(harness, rate_limit=RateLimit(6, per=MINUTE))
    runs = [harness.trigger(task) for _ in range(4)]
    harness.run_until_idle()
    started = sorted(at for run_id in runs if (at := harness.run(run_id).started_at))
    assert len(started) == 4
    pauses = [after - before for before, after in zip(started, started[1:], strict=False)]
    assert all(pause >= timedelta(seconds=10) for pause in pauses)
    assert harness.engine.alarm is harness.alarm
