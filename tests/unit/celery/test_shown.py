"""What Celery's handlers, signals and results are shown of a run: its input, and its retries."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
from celery import current_app, signals
from celery.app.trace import build_tracer
from celery.exceptions import Retry
from celery.worker import state as worker_state

from trigger_celery import DurableTask, RetryPolicy, cancel_run, durable_task, step
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.celery.worker.request import DurableRequest
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Nudge


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


@pytest.fixture
def held(harness: Harness) -> Iterator[Any]:
    """Return a function that lets this process be a worker that has the message of a run."""
    ids: list[str] = []

    def hold(task: Any, run_id: UUID) -> DurableRequest:
        headers = {"id": str(run_id), "task": task.name, "argsrepr": "()", "kwargsrepr": "{}"}
        message = Mock(headers=headers, payload=([], {}, {}), body="")
        request: Any = DurableRequest(message, app=current_app, task=task, headers=headers)
        worker_state.requests[request.id] = request
        ids.append(request.id)
        return request  # type: ignore[no-any-return]

    yield hold
    for each in ids:
        worker_state.requests.pop(each)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_inspect_active_shows_the_input_where_the_pool_has_threads(
    harness: Harness, held: Any, kind: str
) -> None:
    @durable_task(name="inspected", ignore_result=True)
    def inspected(number: int, **more: Any) -> None: ...

    @durable_task(name="inspected-async", ignore_result=True)
    async def inspected_async(number: int, **more: Any) -> None: ...

    task = inspected if kind == "def" else inspected_async
    run_id = UUID(task.delay(1, more={2}).id)
    request = held(task, run_id)
    assert request.info()["args"] == []
    message(task, run_id)
    assert (request.info()["args"], request.info()["kwargs"]) == ([1], "{'more': {2}}")
    assert request.info(safe=True)["args"] == "(1,)"


def test_what_a_caller_hides_is_shown_as_it_says(
    harness: Harness, held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @durable_task(name="hidden", ignore_result=True)
    def hidden(card: str, *, code: str) -> None:
        raise ValueError("declined")

    texts: Any = {"argsrepr": "('****',)", "kwargsrepr": "{'code': '***'}"}
    run_id = UUID(hidden.apply_async(("4711",), {"code": "007"}, **texts).id)
    request = held(hidden, run_id)
    with caplog.at_level(logging.ERROR):
        message(hidden, run_id)
    shown = [*request.info().values(), *request.info(safe=True).values()]
    assert {"('****',)", "{'code': '***'}"} <= {each for each in shown if isinstance(each, str)}
    assert "4711" not in str(shown)
    assert "4711" not in caplog.text


def test_the_texts_that_a_caller_chose_are_in_each_message_and_its_input_is_not(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    @durable_task(name="texts", ignore_result=True)
    def texts(card: str, *, code: str) -> None: ...

    sent: list[Any] = []
    amqp: Any = current_app.amqp
    monkeypatch.setattr(amqp, "send_task_message", lambda *args, **_: sent.append(args[2]))
    chosen: Any = {"argsrepr": "('****',)", "kwargsrepr": "{'code': '***'}"}
    run_id = UUID(texts.apply_async(("4711",), {"code": "007"}, **chosen).id)
    dispatcher = CeleryDispatcher(lambda: timedelta(seconds=1))
    nudge = Nudge(run_id=run_id, task=texts.name, canvas=harness.stored(run_id).spec.canvas)
    dispatcher.nudge([nudge, nudge])
    dispatcher.close()
    assert len(sent) == 2
    for each in sent:
        assert "4711" not in str(each)
        message = Mock(headers=each.headers, payload=each.body, body="")
        task: Any = texts
        request = DurableRequest(message, app=current_app, task=task, headers=each.headers)
        shown = request.info()
        assert (shown["args"], shown["kwargs"]) == tuple(chosen.values())


def test_a_message_without_texts_shows_no_input(harness: Harness, held: Any) -> None:
    @durable_task(name="no-texts", ignore_result=True)
    def untold(number: int) -> None: ...

    request = held(untold, UUID(untold.delay(1).id))
    assert (request.info()["args"], request.info()["kwargs"]) == ([], {})
