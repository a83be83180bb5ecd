"""The end of a run as a worker publishes it: errbacks, each one once, and handlers that raise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import current_app, shared_task, signals
from celery.app.trace import build_tracer
from kombu.exceptions import OperationalError

from trigger_celery import DurableTask, RetryPolicy, durable_task, list_runs
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.states import RunState

ONCE = RetryPolicy(max_attempts=1)


def message(task: Any, run_id: UUID) -> Any:
    """Execute a nudge as a worker's process does; return what it sends to the main process."""
    evaluated = current_app.tasks[task.name]
    evaluated.__trace__ = build_tracer(task.name, evaluated, app=evaluated.app)
    request = {"id": str(run_id), "task": task.name, "delivery_info": {}, "trigger_nudge": True}
    return evaluated.__trace__(str(run_id), (), {}, request)


def published(harness: Harness, run_id: UUID) -> bool:
    return harness.stored(run_id).published_at is not None


def queued() -> list[Any]:
    return list(list_runs(state=RunState.QUEUED).runs)


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """Return what Celery's signal says of failed tasks."""
    seen: list[str] = []

    def note(exception: Exception, **kwargs: object) -> None:
        seen.append(str(exception))

    signals.task_failure.connect(note, weak=False)
    yield seen
    signals.task_failure.disconnect(note)


@pytest.fixture
def failing() -> Any:
    """Return a task that fails at its only attempt."""

    @durable_task(name="ends-failed", retry=ONCE, ignore_result=True)
    def failed() -> None:
        raise ValueError("declined")

    return failed


def test_durable_errbacks_become_runs(harness: Harness, failing: Any) -> None:
    inline: list[object] = []

    @durable_task(name="ends-refund")
    def refund(order: Any, reason: str = "") -> None:
        inline.append(order)

    @durable_task(name="ends-note")
    def note(failed: str, order: int, reason: str) -> None:
        inline.append(order)

    errbacks = [refund.si(2, reason="x"), refund.s(), note.s(3, reason="y")]
    run_id = UUID(failing.apply_async(link_error=errbacks).id)
    message(failing, run_id)
    assert inline == []
    inputs = [harness.stored(each.id).spec.input for each in queued()]
    assert len(inputs) == 3
    assert any(f'"{run_id}"' in text and "3" in text and '"y"' in text for text in inputs)
    assert published(harness, run_id)


def test_an_errback_that_cannot_be_called_is_logged_once_and_holds_up_no_other(
    harness: Harness, failing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @durable_task(name="ends-three")
    def three(request: Any, exc: Any, traceback: Any) -> None: ...

    @durable_task(name="ends-one")
    def one(failed: str) -> None: ...

    run_id = UUID(failing.apply_async(link_error=[one.s(), three.s(), one.s()]).id)
    with caplog.at_level(logging.ERROR, "trigger_celery.task"):
        message(failing, run_id)
        harness.advance(timedelta(minutes=10))
        harness.sweep()
        message(failing, run_id)
    assert published(harness, run_id)
    assert len([each for each in caplog.messages if "errback ends-three" in each]) == 1
    assert [each.task for each in queued()] == ["ends-one", "ends-one"]


def test_a_plain_errback_that_raises_is_called_once(harness: Harness, failing: Any) -> None:
    called: list[str] = []

    @shared_task(name="ends-plain")
    def plain(request: Any, exc: Exception, traceback: Any) -> None:
        called.append(str(exc))
        raise RuntimeError("the errback's own")

    run_id = UUID(failing.apply_async(link_error=plain.s()).id)
    message(failing, run_id)
    assert called == ["declined"]
    assert published(harness, run_id)


def test_a_broker_that_is_away_holds_up_the_end(harness: Harness, failing: Any) -> None:
    @durable_task(name="ends-away")
    def away(failed: str) -> None: ...

    run_id = UUID(failing.apply_async(link_error=away.s()).id)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*args: object, **kwargs: object) -> None:
            raise OperationalError("refused")

        patch.setattr(type(current_app.tasks["ends-away"]), "apply_async", refuse)
        message(failing, run_id)
    assert not published(harness, run_id)
    harness.advance(timedelta(minutes=10))
    message(failing, run_id)
    assert published(harness, run_id)


def test_an_on_failure_that_raises_takes_nothing_back(
    harness: Harness, failures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Loud(DurableTask[Any, Any]):
        abstract = True

        def on_failure(self, *args: Any) -> None:
            raise RuntimeError("the handler's own")

    @durable_task(name="ends-loud", base=Loud, retry=ONCE, ignore_result=True)
    def loud() -> None:
        raise ValueError("declined")

    @durable_task(name="ends-after-loud")
    def one(failed: str) -> None: ...

    run_id = UUID(loud.apply_async(link_error=one.s()).id)
    left = message(loud, run_id)
    assert (left.info.state, str(left.info.retval)) == ("FAILURE", "declined")
    assert failures == ["declined"]
    assert harness.run(run_id).state is RunState.FAILED
    assert published(harness, run_id)
    assert len(queued()) == 1
    assert len([each for each in caplog.messages if "on_failure of task ends-loud" in each]) == 1
