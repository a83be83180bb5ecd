"""What Celery's handlers, signals and results are shown of a run: its input, and its retries."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

import pytest
from celery import current_app, signals
from celery.app.trace import build_tracer
from celery.exceptions import Retry

from trigger_celery import DurableTask, RetryPolicy, cancel_run, durable_task, step
from trigger_celery.testing import Harness


class Noting(DurableTask[Any, Any]):
    """Notes what its handlers are called with."""

    abstract = True
    seen: list[tuple[Any, ...]] = []

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.seen.append(("success", args, kwargs))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.seen.append(("failure", str(exc), args, kwargs))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.seen.append(("retry", str(exc), args, kwargs))


@pytest.fixture
def seen() -> list[tuple[Any, ...]]:
    """Return what the handlers of this test's tasks note."""
    Noting.seen = []
    return Noting.seen


def message(task: Any, run_id: UUID) -> Any:
    """Execute a nudge as a worker's process does; return what it sends to the main process."""
    evaluated = current_app.tasks[task.name]
    evaluated.__trace__ = build_tracer(task.name, evaluated, app=evaluated.app)
    request = {
        "id": str(run_id),
        "task": task.name,
        "delivery_info": {},
        "trigger_nudge": True,
        "argsrepr": "()",
        "kwargsrepr": "{}",
    }
    return evaluated.__trace__(str(run_id), [], {}, request)


def test_handlers_and_signals_get_the_input_of_the_run(
    harness: Harness, seen: list[tuple[Any, ...]]
) -> None:
    def failed(args: Any, kwargs: Any, **rest: object) -> None:
        seen.append(("signal", args, kwargs))

    def ran(args: Any, kwargs: Any, state: str, **rest: object) -> None:
        seen.append((state, args, kwargs))

    @durable_task(name="shown", bind=True, base=Noting, retry=RetryPolicy(max_attempts=1))
    def shown(self: Any, number: int, *, fails: bool = False) -> list[Any]:
        if fails:
            raise ValueError("declined")
        return [self.request.args, self.request.kwargs]

    good, bad = UUID(shown.delay(1).id), UUID(shown.delay(2, fails=True).id)
    signals.task_failure.connect(failed)
    signals.task_postrun.connect(ran)
    assert message(shown, good).retval == [[1], {}]
    message(shown, bad)
    assert seen == [
        ("success", [1], {}),
        ("SUCCESS", [1], {}),
        ("failure", "declined", [2], {"fails": True}),
        ("signal", [2], {"fails": True}),
        ("FAILURE", [2], {"fails": True}),
    ]


def test_an_attempt_that_another_follows_is_a_retry_to_celery(
    harness: Harness, seen: list[tuple[Any, ...]]
) -> None:
    def retried(reason: Any, request: Any, **rest: object) -> None:
        seen.append(("signal", str(reason.exc), request.args))

    @durable_task(
        name="shown-retry", ignore_result=True, base=Noting, retry=RetryPolicy(jitter=False)
    )
    def again(number: int) -> None:
        raise ValueError("declined")

    run_id = UUID(again.delay(1).id)
    signals.task_retry.connect(retried)
    left = message(again, run_id)
    assert left.info.state == "RETRY"
    assert isinstance(left.info.retval, Retry)
    assert seen == [("retry", "declined", [1], {}), ("signal", "declined", [1])]


def test_a_canceled_run_is_a_revoked_task(harness: Harness) -> None:
    seen: list[str] = []

    def revoked(request: Any, **rest: object) -> None:
        seen.append(request.id)

    @durable_task(name="shown-link")
    def after() -> None: ...

    @durable_task(name="shown-canceled", ignore_result=True)
    def canceled() -> None: ...

    run_id = UUID(canceled.apply_async(link=after.si()).id)
    cancel_run(run_id)
    signals.task_revoked.connect(revoked)
    message(canceled, run_id)
    assert seen == [str(run_id)]


@pytest.mark.parametrize("in_step", [True, False])
def test_a_body_that_exits_is_one_failure_to_celery(
    harness: Harness, seen: list[tuple[Any, ...]], in_step: bool
) -> None:
    def failed(exception: BaseException, **rest: object) -> None:
        seen.append(("signal", str(exception)))

    def leave() -> None:
        sys.exit(1)

    @durable_task(name="shown-exit", base=Noting)
    def exits() -> None:
        if in_step:
            step.run("leave", leave)
        leave()

    signals.task_failure.connect(failed)
    left = message(exits, UUID(exits.delay().id))
    assert left.info.state == "FAILURE"
    text = "SystemExit: 1" if in_step else seen[0][1]
    assert "SystemExit" in text
    assert seen == [("failure", text, [], {}), ("signal", text)]
