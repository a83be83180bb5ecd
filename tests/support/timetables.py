"""Tasks that schedules start in a harness, and what became of their runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trigger_celery import (
    current_run,
    sleep,
    wait_for_event,
)
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Schedule

START = datetime(2026, 3, 27, 11, 0, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = timedelta(0)

seen: list[Any] = []


def note(what: str = "ran") -> str:
    seen.append(what)
    return what


def hold(what: str = "held") -> str:
    seen.append(what)
    wait_for_event("go on")
    return what


def record() -> object:
    seen.append(current_run().schedule)
    sleep(HOUR)
    seen.append(current_run().schedule)
    return None


def tick(harness: Harness, delta: timedelta = NOW) -> None:
    """Let time pass and do what there is to do, without waiting for anything."""
    harness.advance(delta)
    harness.run_until_idle(max_virtual_time=NOW)


def runs(harness: Harness) -> list[Any]:
    """Return all runs, oldest first."""
    rows = harness.memory.dump()["runs"]
    assert isinstance(rows, dict)
    found = [harness.memory.runs.get(run_id) for run_id in rows]
    return sorted((run for run in found if run is not None), key=lambda run: run.created_at)


def states(harness: Harness) -> list[str]:
    return [str(run.state) for run in runs(harness)]


def nominal_of(harness: Harness, run: Any) -> datetime:
    """Return the nominal time that started a run."""
    origin: Any = harness.engine.codec.decode(run.spec.origin)
    moment: datetime = origin["nominal_at"]
    return moment


def turn_back(harness: Harness, delta: timedelta) -> None:
    """Let the database's clock go back, which a manual clock does not do by itself."""
    harness.clock._start -= delta


def row(harness: Harness, key: str) -> Schedule:
    found = harness.memory.schedules.get(key)
    assert found is not None
    return found
