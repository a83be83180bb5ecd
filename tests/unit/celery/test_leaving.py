"""How a worker leaves a run: as Celery wants it, without the description of an exception."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app, signals
from celery.app.trace import build_tracer
from celery.exceptions import Ignore

from trigger_celery import durable_task, sleep
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

KIBIBYTE = 2**10


@pytest.fixture
def postruns() -> Iterator[list[tuple[str, Any]]]:
    """Return the states, and the values, that Celery says tasks were left with."""
    seen: list[tuple[str, Any]] = []

    def note(state: str, retval: Any, **kwargs: object) -> None:
        seen.append((state, retval))

    signals.task_postrun.connect(note, weak=False)
    yield seen
    signals.task_postrun.disconnect(note)


def message(task: Any, run_id: UUID) -> Any:
    """Execute a nudge as a worker's process does; return what it sends to the main process."""
    evaluated = current_app.tasks[task.name]
    evaluated.__trace__ = build_tracer(task.name, evaluated, app=evaluated.app)
    request = {"id": str(run_id), "task": task.name, "delivery_info": {}, "trigger_nudge": True}
    return evaluated.__trace__(str(run_id), (), {}, request)


def suspended(harness: Harness) -> tuple[Any, UUID]:
    @durable_task(name="left-asleep", ignore_result=True)
    def asleep() -> None:
        sleep(60)

    return asleep, UUID(asleep.delay().id)


def unknown(harness: Harness) -> tuple[Any, UUID]:
    @durable_task(name="left-unknown", ignore_result=True)
    def never() -> None: ...

    return never, uuid4()


@pytest.mark.parametrize("make", [suspended, unknown])
def test_what_a_run_that_is_left_sends_to_the_main_process_is_small(
    make: Callable[[Harness], tuple[Any, UUID]],
    harness: Harness,
    postruns: list[tuple[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    task, run_id = make(harness)
    with caplog.at_level(logging.INFO, "celery.app.trace"):
        left = message(task, run_id)
    assert len(pickle.dumps(left.retval)) < 2 * KIBIBYTE
    # What the main process asks before it acknowledges, and neither shows a success nor fails it.
    assert isinstance(pickle.loads(pickle.dumps(left.retval)).exception, Ignore)
    assert left.info.state == "IGNORED"
    assert [(state, type(value)) for state, value in postruns] == [("IGNORED", Ignore)]
    assert caplog.messages == []


def test_the_end_of_a_run_is_traced_by_celery(
    harness: Harness, postruns: list[tuple[str, Any]]
) -> None:
    @durable_task(name="left-done")
    def done() -> int:
        return 7

    @durable_task(name="left-failed")
    def failed() -> None:
        raise ValueError("wrong")

    first, second = UUID(done.delay().id), UUID(failed.delay().id)
    ended = message(done, first)
    assert (ended.retval, ended.info, ended.retstr) == (7, None, "7")
    assert postruns == [("SUCCESS", 7)]
    assert harness.run(first).state is RunState.COMPLETED
    while harness.run(second).state is not RunState.FAILED:
        left = message(failed, second)
        harness.advance(timedelta(seconds=60))
        harness.sweep()
    assert left.info.state == "FAILURE"
    assert "in failed\n" in left.retval.traceback
