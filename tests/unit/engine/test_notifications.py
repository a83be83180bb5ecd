"""What the engine reports to listeners, and that no listener disturbs a run."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trigger_celery import (
    RetryPolicy,
    TriggerOptions,
    current_run,
    rerun,
    send_event,
    step,
    wait_for_event,
)
from trigger_celery.declare.definition import TaskDefinition
from trigger_celery.declare.schedule import every
from trigger_celery.engine.runs import control as run_control
from trigger_celery.engine.runs.trigger import Request, start, trigger
from trigger_celery.engine.upkeep.declarations import sync_declared
from trigger_celery.errors import NotInRun
from trigger_celery.testing import Harness
from trigger_celery.vocabulary.news import EventNews, News, RunNews, StepNews, Topic
from trigger_celery.vocabulary.states import RunState

STILL = timedelta(0)
ONCE = RetryPolicy(max_attempts=1)


class Recorder:
    """A listener that wants these topics (all of them by default) and keeps its news."""

    def __init__(self, topics: Sequence[Topic] = tuple(Topic)) -> None:
        self.topics = topics
        self.received: list[tuple[Topic, News]] = []

    def wants(self, topic: Topic) -> bool:
        return topic in self.topics

    def send(self, topic: Topic, news: News) -> None:
        self.received.append((topic, news))

    @property
    def names(self) -> list[str]:
        return [str(topic) for topic, _ in self.received]

    def of(self, topic: Topic) -> Any:
        """Return the only news of a topic."""
        (news,) = [news for each, news in self.received if each is topic]
        return news


@pytest.fixture
def recorder(harness: Harness) -> Recorder:
    recorder = Recorder()
    harness.engine.listeners = recorder
    return recorder


@step
def double(value: int) -> int:
    return 2 * value


@step(atomic=True)
def stored(value: int) -> int:
    return value


def twice(value: int) -> int:
    return double(stored(value))


def wait() -> object:
    return wait_for_event("paid").payload


def fail() -> None:
    raise LookupError("no such order")


def test_a_run_with_steps_is_reported_from_its_creation_to_its_end(
    harness: Harness, recorder: Recorder
) -> None:
    run_id = harness.trigger(harness.task(twice), 4)
    harness.run_until_idle()
    assert recorder.received == [
        (Topic.RUN_CREATED, RunNews(run_id=run_id, task="twice", state=RunState.QUEUED)),
        (Topic.RUN_STARTED, RunNews(run_id=run_id, task="twice", state=RunState.EXECUTING)),
        (Topic.STEP_COMPLETED, StepNews(run_id=run_id, task="twice", key="stored", attempt=1)),
        (Topic.STEP_COMPLETED, StepNews(run_id=run_id, task="twice", key="double", attempt=1)),
        (Topic.RUN_COMPLETED, RunNews(run_id=run_id, task="twice", state=RunState.COMPLETED)),
    ]


def test_an_async_run_is_reported_alike(harness: Harness, recorder: Recorder) -> None:
    @step
    async def add(value: int) -> int:
        return value + 1

    async def body() -> int:
        return await add(1)

    harness.trigger(harness.task(body))
    harness.run_until_idle()
    assert recorder.names == ["run_created", "run_started", "step_completed", "run_completed"]


def test_a_wait_and_its_event_are_reported(harness: Harness, recorder: Recorder) -> None:
    run_id = harness.trigger(harness.task(wait))
    harness.run_until_idle(STILL)
    news = recorder.of(Topic.RUN_SUSPENDED)
    assert (news.run_id, news.state) == (run_id, RunState.SUSPENDED)
    assert news.waits == ("paid",) == tuple(harness.waits(run_id))
    event_id = harness.send_event("paid", 5, source="bank")
    assert recorder.of(Topic.EVENT_RECEIVED) == EventNews(
        event_id=event_id, name="paid", source="bank"
    )
    harness.run_until_idle()
    assert recorder.names == [
        "run_created",
        "run_started",
        "run_suspended",
        "event_received",
        "run_resumed",
        "run_completed",
    ]


def test_an_event_that_is_stored_already_is_not_reported_again(
    harness: Harness, recorder: Recorder
) -> None:
    harness.send_event("paid", id="1")
    harness.send_event("paid", id="1")
    assert recorder.names == ["event_received"]


def test_attempts_and_their_end_are_reported(harness: Harness, recorder: Recorder) -> None:
    policy = RetryPolicy(max_attempts=2, min_delay=10, jitter=False)
    run_id = harness.trigger(harness.task(fail, retry=policy))
    harness.run_until_idle()
    assert recorder.names == [
        "run_created",
        "run_started",
        "run_retrying",
        "run_failed",
        "run_dead_lettered",
    ]
    retrying = recorder.of(Topic.RUN_RETRYING)
    assert (retrying.attempt, retrying.error) == (1, "LookupError")
    assert retrying.delay == timedelta(seconds=10)
    failed = RunNews(
        run_id=run_id, task="fail", state=RunState.FAILED, attempt=2, error="LookupError"
    )
    assert recorder.of(Topic.RUN_FAILED) == recorder.of(Topic.RUN_DEAD_LETTERED) == failed


def test_a_failed_attempt_of_a_step_is_reported(harness: Harness, recorder: Recorder) -> None:
    @step(retry=RetryPolicy(max_attempts=2, min_delay=0))
    def charge() -> None:
        raise LookupError("secret of a customer")

    def body() -> None:
        charge()

    run_id = harness.trigger(harness.task(body, retry=ONCE))
    harness.run_until_idle()
    failed = [news for topic, news in recorder.received if topic is Topic.STEP_FAILED]
    assert failed == [
        StepNews(run_id=run_id, task="body", key="charge", attempt=number, error="LookupError")
        for number in (1, 2)
    ]
    assert "secret" not in repr(recorder.received)


def test_a_cancel_reports_the_run_once(harness: Harness, recorder: Recorder) -> None:
    run_id = harness.trigger(harness.task(wait))
    harness.run_until_idle(STILL)
    harness.cancel(run_id, "sold out")
    news = recorder.of(Topic.RUN_CANCELED)
    assert (news.run_id, news.state, news.reason) == (run_id, RunState.CANCELED, "sold out")
    harness.cancel(run_id, "again")
    harness.run_until_idle()
    assert recorder.names.count("run_canceled") == 1


def test_runs_that_a_sweep_times_out_or_expires_are_reported(
    harness: Harness, recorder: Recorder
) -> None:
    short = TriggerOptions(max_duration=timedelta(minutes=1))
    timed_out = trigger(harness.engine, harness.task(wait), options=short)
    harness.run_until_idle(STILL)
    late = TriggerOptions(delay=timedelta(minutes=1), ttl=timedelta(minutes=1))
    expired = trigger(harness.engine, harness.task(twice), (1,), options=late)
    harness.advance(timedelta(minutes=3))
    harness.sweep()
    harness.sweep()
    assert recorder.of(Topic.RUN_TIMED_OUT).run_id == timed_out
    assert recorder.of(Topic.RUN_TIMED_OUT).error == "RunTimedOut"
    assert recorder.of(Topic.RUN_DEAD_LETTERED).run_id == timed_out
    assert recorder.of(Topic.RUN_EXPIRED).run_id == expired


@pytest.mark.parametrize("by", ["sweep", "supervisor"])
def test_a_run_that_lost_its_last_worker_is_reported(
    harness: Harness, recorder: Recorder, by: str
) -> None:
    def deadly() -> None:
        raise KeyboardInterrupt

    run_id = harness.trigger(harness.task(deadly, max_crashes=2))
    for _ in range(2):
        assert "run_failed" not in recorder.names
        harness.advance(timedelta(minutes=5))
        with pytest.raises(KeyboardInterrupt):
            harness.execute(run_id)
        if by == "sweep":
            harness.advance(harness.config.heartbeat_timeout)
            harness.sweep()
        else:
            run_control.recover(harness.engine, run_id, harness.run(run_id).worker)
    harness.advance(timedelta(hours=1))
    harness.sweep()
    assert recorder.of(Topic.RUN_FAILED).error == "RunCrashed"
    assert recorder.of(Topic.RUN_DEAD_LETTERED).run_id == run_id


def test_every_way_to_create_runs_is_reported(harness: Harness, recorder: Recorder) -> None:
    def created() -> set[UUID]:
        runs = {
            news.run_id
            for topic, news in recorder.received
            if topic is Topic.RUN_CREATED and isinstance(news, RunNews)
        }
        recorder.received.clear()
        return runs

    task = harness.task(twice)
    batch = start(harness.engine, [Request(definition=task, args=(n,)) for n in range(3)])
    assert created() == {each.id for each in batch}
    assert created() == set()
    trigger(harness.engine, task, (1,), id=batch[0].id)
    assert created() == set(), "it was there already"
    assert created() == set()
    copy = rerun(batch[0].id)
    assert created() == {copy}
    _on_paid(harness)
    harness.send_event("paid", 1)
    assert len(created()) == 1
    harness.task(at_times, schedule=every(timedelta(minutes=5)))
    sync_declared(harness.engine)
    created()
    harness.advance(timedelta(minutes=5))
    harness.sweep()
    assert len(created()) == 1


def _on_paid(harness: Harness) -> TaskDefinition:
    def paid(event: object) -> None: ...

    return harness.task(paid, on_event="paid")


def at_times() -> None: ...


def test_a_run_is_reported_once_its_transaction_is_committed(
    harness: Harness, recorder: Recorder
) -> None:
    task = harness.task(twice)
    with harness.memory.joined():
        harness.trigger(task, 1)
        send_event("paid")
        assert recorder.names == []
    assert recorder.names == ["run_created", "event_received"]
    recorder.received.clear()

    def broken() -> None:
        with harness.memory.joined():
            harness.trigger(task, 1)
            send_event("paid")
            raise LookupError

    with pytest.raises(LookupError):
        broken()
    assert recorder.names == []


def test_a_topic_without_listeners_is_not_reported(harness: Harness) -> None:
    recorder = harness.engine.listeners = Recorder([Topic.RUN_FAILED])
    harness.trigger(harness.task(twice), 1)
    harness.trigger(harness.task(fail, retry=ONCE))
    harness.run_until_idle()
    assert recorder.names == ["run_failed"]


@pytest.mark.parametrize("error", [ValueError("broken listener"), CancelledError(), SystemExit(1)])
def test_a_listener_that_raises_disturbs_nothing(
    harness: Harness, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    class Broken(Recorder):
        def send(self, topic: Topic, news: News) -> None:
            super().send(topic, news)
            raise error

    recorder = harness.engine.listeners = Broken()
    run_id = harness.trigger(harness.task(twice), 4)
    with caplog.at_level(logging.ERROR, "trigger_celery.signals"):
        harness.run_until_idle()
    assert harness.result(run_id) == 8
    assert len(recorder.received) == 5
    assert "a listener to step_completed failed" in caplog.text


def test_an_end_that_cannot_be_read_back_is_not_reported_and_stays(
    harness: Harness, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = harness.trigger(harness.task(wait))

    def refuse(run_id: UUID) -> None:
        raise OSError("no disk")

    with monkeypatch.context() as patch:
        patch.setattr(harness.memory.runs, "get", refuse)
        assert harness.cancel(run_id)
    assert harness.run(run_id).state is RunState.CANCELED
    assert recorder.names == ["run_created"]


def test_a_listener_is_called_outside_of_the_run(harness: Harness) -> None:
    raised: list[Topic] = []

    class Curious(Recorder):
        def send(self, topic: Topic, news: News) -> None:
            try:
                current_run()
            except NotInRun:
                raised.append(topic)

    harness.engine.listeners = Curious()
    harness.trigger(harness.task(twice), 1)
    harness.run_until_idle()
    assert Topic.STEP_COMPLETED in raised
    assert len(raised) == 5
