"""The parts of the Celery binding that can be looked at without a worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, signature
from celery.worker import state as worker_state
from kombu import Queue
from kombu.exceptions import OperationalError

from trigger_celery import durable_task
from trigger_celery.celery import canvas, dispatcher, results
from trigger_celery.celery.dispatcher import CeleryDispatcher
from trigger_celery.celery.install import LOGGERS, RunLogFilter, filter_logs
from trigger_celery.celery.worker import bootsteps
from trigger_celery.celery.worker.bootsteps import RevokedIds
from trigger_celery.celery.worker.own_tasks import SWEEP, consumed_queue
from trigger_celery.declare.definition import declared_tasks
from trigger_celery.engine.segment.outcome import Left
from trigger_celery.errors import UsageError
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.records import Nudge
from trigger_celery.vocabulary.states import RunState

# Celery gives every app the tasks that other tests declared: only this module uses these names.
FIRST, SECOND = "nudged.first", "nudged.second"


@pytest.fixture
def revoked() -> Iterator[Any]:
    """Return Celery's set of revoked ids, empty before and after."""
    worker_state.revoked.clear()
    yield worker_state.revoked
    worker_state.revoked.clear()


def test_a_revoked_id_is_returned_until_it_was_handled(revoked: Any) -> None:
    ids = RevokedIds()
    revoked.update(["a", "b"])
    assert ids.fresh() == ["a", "b"]
    ids.handled(["a"])
    assert ids.fresh() == ["b"]
    revoked.add("c")
    ids.handled(["b"])
    assert ids.fresh() == ["c"]


def test_one_id_that_comes_as_another_goes_is_noticed(revoked: Any) -> None:
    ids = RevokedIds()
    revoked.add("old")
    ids.handled(ids.fresh())
    revoked.discard("old")
    revoked.add("new")
    assert ids.fresh() == ["new"]


def test_the_id_of_an_expired_message_is_not_returned(revoked: Any) -> None:
    ids = RevokedIds()
    revoked.update(["late", "revoked"])
    ids.note(request=SimpleNamespace(id="late"), expired=True, terminated=False)
    ids.note(request=SimpleNamespace(id="revoked"), expired=False, terminated=False)
    assert ids.fresh() == ["revoked"]


def record(level: int, **data: object) -> logging.LogRecord:
    """Return a log record as Celery makes them."""
    made = logging.LogRecord("celery.app.trace", level, "", 0, "", (), None)
    made.data = data
    return made


def test_lines_about_suspensions_are_dropped_and_nothing_else() -> None:
    @durable_task(name="logged")
    def logged() -> None: ...

    keeps = RunLogFilter().filter
    assert not keeps(record(logging.INFO, name="logged", description="ignored"))
    declared_tasks.remove("logged")
    assert keeps(record(logging.INFO, name="logged", description="ignored"))
    assert keeps(record(logging.INFO, name="plain", description="ignored"))
    assert keeps(logging.LogRecord("celery", logging.INFO, "", 0, "text", (), None))


def test_the_filter_is_added_once() -> None:
    filter_logs()
    filter_logs()
    for name in LOGGERS:
        filters = logging.getLogger(name).filters
        assert len([f for f in filters if isinstance(f, RunLogFilter)]) == 1


def test_a_callback_gets_its_id_when_the_run_is_created() -> None:
    callback = signature("plain", args=(1,))
    saved = canvas.load(canvas.save({"link": callback, "link_error": [callback]}))
    first, second = saved["link"][0]["options"], saved["link_error"][0]["options"]
    assert first["task_id"] != second["task_id"]
    assert "task_id" not in callback.options
    own = signature("plain").set(task_id="own")
    assert canvas.load(canvas.save({"link": own}))["link"][0]["options"] == {"task_id": "own"}


def test_a_chain_as_a_callback_is_kept_as_it_is() -> None:
    callback = chain(signature("one"), signature("two"))
    (kept,) = canvas.load(canvas.save({"link": callback}))["link"]
    assert kept["options"] == {}
    assert [task["task"] for task in kept["kwargs"]["tasks"]] == ["one", "two"]


def test_nothing_worth_keeping_is_kept_as_nothing() -> None:
    assert (
        canvas.save({"link": None, "link_error": [], "retry": False, "add_to_parent": True}) == ""
    )
    with pytest.raises(UsageError, match="does not know the option colour="):
        canvas.save({"colour": "red"})


def test_headers_of_ones_own_and_stamps_are_no_error() -> None:
    saved = canvas.load(
        canvas.save({"headers": {"trace": "t-1"}, "stamped_headers": ["s"], "s": 1})
    )
    assert saved == {"headers": {"trace": "t-1"}}


def test_a_message_by_name_keeps_the_queue_it_came_by() -> None:
    request = SimpleNamespace(
        timelimit=[9, None],
        delivery_info={"exchange": "", "routing_key": "slow", "priority": 3},
        group="g-1",
    )
    saved = canvas.load(canvas.from_request(request))
    assert saved == {"time_limit": 9, "queue": "slow", "priority": 3, "group_id": "g-1"}
    request.delivery_info = {"exchange": "topics", "routing_key": "a.b"}
    assert canvas.routing(canvas.load(canvas.from_request(request))) == {
        "exchange": "topics",
        "routing_key": "a.b",
        "time_limit": 9,
    }


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Celery, list[dict[str, Any]]]]:
    """Return an app on a broker in memory, and what is sent over it."""
    sent: list[dict[str, Any]] = []
    with Celery("here", broker="memory://", set_as_current=False) as app:
        monkeypatch.setattr(dispatcher, "app_or_default", lambda: app)
        monkeypatch.setattr(
            app.amqp,
            "send_task_message",
            lambda producer, name, message, **options: sent.append({"name": name, **options}),
        )
        yield app, sent


def test_a_nudge_goes_where_its_run_was_sent(
    published: tuple[Celery, list[dict[str, Any]]],
) -> None:
    _, sent = published
    kept = canvas.save({"queue": "slow", "priority": 4, "headers": {"trace": "t"}})
    nudges = [Nudge(run_id=uuid4(), task=FIRST, canvas=kept), Nudge(run_id=uuid4(), task=SECOND)]
    sender = CeleryDispatcher(lambda: timedelta(seconds=1))
    sender.nudge(nudges)
    sender.close()
    assert [(each["name"], each["queue"].name) for each in sent] == [
        (FIRST, "slow"),
        (SECOND, "celery"),
    ]
    assert sent[0]["priority"] == 4
    assert sent[0]["headers"] == {"trace": "t", "trigger_nudge": True}


def test_a_nudge_that_cannot_be_sent_holds_up_no_other(
    published: tuple[Celery, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, sent = published
    monkeypatch.setattr(app.amqp.queues, "create_missing", False)
    lost = Nudge(run_id=uuid4(), task=FIRST, canvas=canvas.save({"queue": "not-declared"}))
    sender = CeleryDispatcher(lambda: timedelta(seconds=1))
    sender.nudge([lost])
    sender.nudge([lost, Nudge(run_id=uuid4(), task=SECOND)])
    sender.close()
    assert [each["name"] for each in sent] == [SECOND]
    assert sender.refusals == 0
    assert "1 of 2 nudges could not be published, the sweep will: QueueNotFound" in caplog.text


def test_a_broker_that_is_away_is_asked_once_for_all_nudges(
    published: tuple[Celery, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = published
    asked = []

    def refuse(producer: Any, name: str, message: Any, **options: Any) -> None:
        asked.append(name)
        raise OperationalError("connection refused")

    monkeypatch.setattr(app.amqp, "send_task_message", refuse)
    sender = CeleryDispatcher(lambda: timedelta(seconds=1))
    sender.nudge([Nudge(run_id=uuid4(), task=FIRST), Nudge(run_id=uuid4(), task=SECOND)])
    assert (asked, sender.refusals) == ([FIRST], 1)
    assert "2 of 2 nudges could not be published" in caplog.text
    sender.nudge([Nudge(run_id=uuid4(), task=FIRST)])
    sender.nudge([])
    sender.close()
    assert sender.refusals == 2


def test_a_fork_opens_connections_of_its_own(
    published: tuple[Celery, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = published
    sender = CeleryDispatcher(lambda: timedelta(seconds=1))
    mine = sender._producers(app)
    assert sender._producers(app) is mine
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    theirs = sender._producers(app)
    assert theirs is not mine
    assert theirs.connections is not mine.connections
    with mine.acquire(block=False):  # the parent's pool was not closed by its child
        pass
    sender.close()


class Backend:
    """Keeps the states that it is given, as result backends keep the last one."""

    def __init__(self) -> None:
        self.states: list[tuple[str, Any]] = []

    def store_result(self, task_id: str, result: Any, state: str, **options: Any) -> None:
        self.states.append((state, result))


def test_a_suspension_stored_too_late_does_not_hide_the_result(harness: Harness) -> None:
    run_id = harness.trigger(harness.task(lambda value: value, name="overtaken"), 7)
    harness.execute(run_id)
    task = SimpleNamespace(backend=Backend(), request=SimpleNamespace(id=str(run_id)))
    late = Left(reason="suspended", state=RunState.SUSPENDED)
    results.left(task, late, harness.engine)  # type: ignore[arg-type]  # stands in for the task
    assert task.backend.states == [("SUSPENDED", None), ("SUCCESS", 7)]


def test_a_worker_needs_no_queue_but_those_that_it_was_given() -> None:
    app = Celery("apart", set_as_current=False)
    app.conf.update(task_default_queue="shop", task_create_missing_queues=False)
    app.conf.task_queues = [Queue("shop"), Queue("other")]
    app.amqp.queues.select(["other"])
    bootsteps.RevokedStep(SimpleNamespace(app=app, steps=[]))
    assert list(app.amqp.queues.consume_from) == ["other"]
    assert consumed_queue(app).name == "other"
    app.amqp.queues.deselect(["other"])
    assert consumed_queue(app) == "shop"


def test_beat_gets_no_entry_of_ours_and_a_message_of_an_older_release_does_nothing() -> None:
    app = Celery("apart", set_as_current=False)
    app.finalize()
    assert app.conf.beat_schedule == {}
    app.tasks[SWEEP]()
