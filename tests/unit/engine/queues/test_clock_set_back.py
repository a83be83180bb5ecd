"""The store's clock is set back: what may start at once does, in line and after a pause too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trigger_celery import pause_run, resume_run
from trigger_celery.declare.options import TriggerOptions
from trigger_celery.engine.runs.trigger import trigger
from trigger_celery.testing import Harness
from trigger_celery.testing.contract.tools import admitted, ask, begun, end, enter_all, limit

MINUTE = timedelta(minutes=1)


def set_back(harness: Harness) -> None:
    """Set the clock of the store back by a minute."""
    harness.clock._start -= MINUTE  # which it does not offer: no clock of tests goes back


def test_a_run_in_line_starts(harness: Harness) -> None:
    store = harness.memory
    limit(store, concurrency=1)
    lease = begun(store)
    [run_id] = enter_all(store, 1)
    assert ask(store, run_id) is None
    set_back(harness)
    end(store, lease)
    assert admitted(store) == [run_id]
    assert ask(store, run_id) is not None


@pytest.mark.parametrize("first", ["pause", "clock"])
def test_a_resumed_run_starts(harness: Harness, first: str) -> None:
    run_id = trigger(harness.engine, harness.task(double))
    for what in sorted(["pause", "clock"], key=lambda each: each != first):
        if what == "pause":
            pause_run(run_id)
        else:
            set_back(harness)
    resume_run(run_id)
    assert ask(harness.memory, run_id) is not None


def test_a_resumed_run_keeps_its_delay(harness: Harness) -> None:
    run_id = trigger(harness.engine, harness.task(double), options=TriggerOptions(delay=MINUTE))
    pause_run(run_id)
    resume_run(run_id)
    assert ask(harness.memory, run_id) is None
    harness.advance(MINUTE)
    assert ask(harness.memory, run_id) is not None


def double() -> int:
    return 2
